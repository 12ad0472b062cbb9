"""The optimizer's state as a checkpoint holds it, today's and that of format 2."""

import json

import numpy as np
from cases import assert_same_memory
from hypothesis import given
from hypothesis import strategies as st

from tlx.optim import Adam, Constant, Group, Memory, Sgd, cohorts_of
from tlx.training.pack_memory import pack_memory, unpack_memory
from tlx.tree import unflatten

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
ARRAYS = st.integers(0, 9).map(np.int32) | st.just(np.zeros((2, 0), np.float32))
SLOTS = st.dictionaries(NAMES, ARRAYS, max_size=3)


@st.composite
def memories(draw):
    paths = draw(st.lists(st.sampled_from(["a/x", "a/y", "b", "c/d/e"]), unique=True))
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    cohorts = {path: draw(st.sampled_from(names)) for path in paths}
    used = sorted(set(cohorts.values()))
    return Memory(
        leaves={path: draw(SLOTS) for path in paths},
        shared={name: draw(SLOTS) for name in used},
        cohorts=cohorts,
        sizes={name: draw(st.integers(1, 9)) for name in used},
        shapes=dict.fromkeys(paths, (2, 3)),
    )


@given(memories())
def test_what_is_packed_comes_back_under_any_names(memory):
    arrays, plain = pack_memory(memory)
    assert_same_memory(unpack_memory(arrays, {"memory": json.loads(json.dumps(plain))}), memory)


def test_format_2_is_read_as_what_its_optimizers_had():
    shapes = {"base/a": (2, 2), "head/b": (3,), "head/c": (3,)}
    arrays = {f"{path}/{slot}": np.full(shapes[path], 2.0) for path in ("base/a", "head/b") for slot in ("mu", "nu")}
    arrays["head/c/trace"] = np.full((3,), 4.0)
    memory = unpack_memory(unflatten(arrays), {"ages": {"base/a": 3, "head/b": 3, "head/c": 7}})
    params = unflatten({path: np.zeros(shape) for path, shape in shapes.items()})
    labels = unflatten({"base/a": "adam", "head/b": "adam", "head/c": "sgd"})
    one, other = cohorts_of(
        memory, params, labels, {"adam": Group(Constant(0.1), Adam()), "sgd": Group(Constant(0.1), Sgd())}
    )
    assert (one.paths, one.origin, other.paths, other.origin) == (("base/a", "head/b"), "age:3", ("head/c",), "age:7")
    assert memory.shared["age:3"]["ScaleByAdamState.count"] == 3
    assert memory.leaves["head/c"]["TraceState.trace"][0] == 4.0
