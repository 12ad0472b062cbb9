import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASE, CASES, assert_same_bits
from marks import slow_but

from tlx.errors import ConfigError
from tlx.models import Base, Stage
from tlx.models.small import Dense, cnn, mlp


@pytest.mark.slow
@pytest.mark.parametrize("case", slow_but("norm", "tokens", of=CASES), ids=str)
def test_a_base_in_two_parts_is_the_whole_bit_for_bit(case):
    variables, images = case.variables(), case.batch()["input"]

    def run(x, after=None, until=None):
        return case.model.apply(variables, x, after=after, until=until, method="features")

    whole = run(images)
    for cut in case.model.base.stage_names:
        below = run(images, until=cut)
        assert_same_bits(run(below, after=cut), whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["norm", "bare", "nested"])
def test_a_base_runs_from_any_stage_to_any_other(name):
    case = CASE[name]
    variables, images, names = case.variables(), case.batch()["input"], case.model.base.stage_names
    at = {None: images}
    for before, stage in itertools.pairwise((None, *names)):
        at[stage] = case.model.apply(variables, at[before], after=before, until=stage, method="features")
    for after, until in itertools.combinations((None, *names), 2):
        part = case.model.apply(variables, at[after], after=after, until=until, method="features")
        assert_same_bits(part, at[until])
    for stage in names:
        assert_same_bits(case.model.apply(variables, at[stage], after=stage, until=stage, method="features"), at[stage])


@pytest.mark.slow
@pytest.mark.parametrize("case", slow_but("cnn", "norm", "tokens", of=CASES), ids=str)
def test_the_classifier_is_its_head_on_its_features(case):
    variables, images = case.variables(), case.batch()["input"]
    features = case.model.apply(variables, images, method="features")
    logits = case.model.apply(variables, images)
    assert logits.shape == (4, case.classes)
    assert_same_bits(case.model.apply(variables, features, method="logits"), logits)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_base_alone_takes_its_own_part_of_the_variables(case):
    variables, images = case.variables(), case.batch()["input"]
    own = {kind: tree["base"] for kind, tree in variables.items()}
    assert_same_bits(case.model.base.apply(own, images), case.model.apply(variables, images, method="features"))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_tree_has_a_branch_for_each_stage_and_no_other(case):
    variables = case.variables()
    assert set(variables) <= {"params", "batch_stats"}
    assert set(variables["params"]) == {"base", "head"}
    assert set(variables["params"]["base"]) == set(case.owners)
    assert tuple(s for s in case.model.base.stage_names if s in case.owners) == case.owners


SPAN = Base(tuple(Stage(name, Dense(2)) for name in "abc"))


@pytest.mark.parametrize(
    ("after", "until", "names"),
    [
        (None, None, "abc"),
        ("a", None, "bc"),
        (None, "a", "a"),
        ("a", "b", "b"),
        ("a", "c", "bc"),
        ("c", None, ""),
        ("b", "b", ""),
    ],
)
def test_span(after, until, names):
    assert SPAN.span(after, until) == tuple(names)


@pytest.mark.parametrize(
    ("after", "until", "fault"),
    [
        ("d", None, "unknown stage 'd': the stages are 'a', 'b', 'c'"),
        (None, "A", "unknown stage 'A'"),
        ("", None, "unknown stage ''"),
        ("b", "a", "stage 'a' comes before 'b'"),
    ],
)
def test_unknown_stages_and_the_wrong_order_are_refused(after, until, fault):
    with pytest.raises(ConfigError, match=fault):
        SPAN.span(after, until)
    with pytest.raises(ConfigError, match=fault):
        SPAN.init(jax.random.key(0), jnp.zeros((1, 2)), after=after, until=until)


@pytest.mark.parametrize("name", ["head", "frozen", "stages", "name", "parent", "span", "a/b", "a*", "1st", ""])
def test_stage_names_that_would_clash_are_refused(name):
    with pytest.raises(ConfigError, match=f"stage name {name!r}".replace("*", r"\*")):
        Stage(name, Dense(2))


def test_parameters_stand_under_the_stage_whatever_the_layer_is_called():
    base = Base((Stage("a", Dense(2, name="other")), Stage("b", Dense(2))))
    assert set(base.init(jax.random.key(0), jnp.zeros((1, 2)))["params"]) == {"a", "b"}


def test_equal_bases_are_equal_so_that_compiled_functions_are_shared():
    assert cnn() == cnn()
    assert hash(cnn()) == hash(cnn())
    assert cnn() != mlp()


def test_train_reaches_every_stage():
    case = CASE["dropouts"]
    variables, images = case.variables(), case.batch()["input"]
    rngs = {"dropout": jax.random.key(1)}
    on = case.model.apply(variables, images, True, after=None, until="drop0", method="features", rngs=rngs)
    off = case.model.apply(variables, images, False, until="drop0", method="features")
    assert_same_bits(off, images)
    kept = np.asarray(on) != 0
    assert 0 < kept.sum() < kept.size
    np.testing.assert_array_equal(np.asarray(on)[kept], 2 * np.asarray(images)[kept])


# Flax's own layers as stages


class Flag(nn.Module):
    @nn.compact
    def __call__(self, x, learning):
        return x + 1 if learning else x


class Options(nn.Module):
    @nn.compact
    def __call__(self, x, shift=None, *, is_training=True):
        assert shift is None
        return x + 1 if is_training else x


class Fixed(nn.Module):
    train: bool = False

    @nn.compact
    def __call__(self, x, train: bool = False):
        return x + 1 if train else x


class Masked(nn.Module):
    @nn.compact
    def __call__(self, x, mask=None):
        return x if mask is None else x * mask


@pytest.mark.slow
@pytest.mark.parametrize("remat", [False, True])
def test_stages_are_told_in_their_own_words_whether_they_train(remat):
    layers = (nn.Sequential((nn.Conv(2, (3, 3)), nn.relu)), nn.BatchNorm(momentum=0.5), nn.LayerNorm(), nn.Dropout(1.0))
    base = Base(tuple(Stage(f"s{number}", layer) for number, layer in enumerate(layers)), remat=remat)
    x = jnp.arange(32.0).reshape(2, 4, 4, 1)
    variables = base.init(jax.random.key(0), x)
    kept = base.apply(variables, x)
    assert np.abs(kept).max() > 0  # nothing is dropped, and no statistic is written
    dropped, after = base.apply(variables, x, True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)})
    assert not dropped.any()
    assert np.abs(after["batch_stats"]["s1"]["mean"]).max() > 0


@pytest.mark.parametrize(
    ("layer", "trained"),
    [
        (Flag(), 1),
        (Options(), 1),
        (Fixed(), 1),
        (Masked(), 0),
        (nn.Dropout(1.0, deterministic=True), 0),
        (nn.Sequential((nn.relu,)), 0),
    ],
    ids=["any flag", "by keyword", "field and argument", "no flag", "said by a field", "Sequential"],
)
def test_a_layer_is_called_as_its_signature_says(layer, trained):
    base = Base((Stage("a", layer),))
    assert [float(base.apply({}, jnp.zeros(1), train)[0]) for train in (False, True)] == [0, trained]


@pytest.mark.parametrize(
    ("layer", "fault"),
    [
        (nn.relu, "is no object of a Linen module"),
        (nn.Dense, "is no object of a Linen module"),
        ("conv", "'conv' is no object of a Linen module"),
        (nn.Conv(2, [3, 3]), "Conv has a field that cannot be hashed"),
        (nn.Sequential([nn.relu]), "give tuples for lists"),
    ],
    ids=["function", "class", "text", "list", "Sequential of a list"],
)
def test_a_layer_that_cannot_be_compiled_is_refused(layer, fault):
    with pytest.raises(ConfigError, match=f"stage 'a': .*{fault}"):
        Stage("a", layer)
