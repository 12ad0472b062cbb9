"""Which operations a program gets is chosen as it is traced, and no program is used under another choice."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import slow_but

import tlx
from tlx.errors import ConfigError
from tlx.images import Preprocess
from tlx.models import Classifier, ModelConfig, build_model, cut, initialise, lowerings
from tlx.models._lowerings.choice import for_cpu
from tlx.models._lowerings.convolution import convolve
from tlx.models._lowerings.pooling import avg_pool_3x3, max_pool
from tlx.objectives import Classification
from tlx.optim import Group, optimizer
from tlx.optim.schedules import Constant
from tlx.training.activations import program_sha256
from tlx.training.state import Totals, TrainState
from tlx.training.step import make_train_step

XLAS = ("stablehlo.convolution", "stablehlo.reduce_window", "stablehlo.select_and_scatter")
x = jnp.ones((1, 2, 2, 4))
OPERATIONS = {
    "1x1": lambda x: convolve(x, jnp.ones((1, 1, 4, 4)), (1, 1), "SAME"),
    "gathered": lambda x: convolve(x, jnp.ones((3, 3, 4, 4)), (1, 1), "SAME"),
    "depthwise": lambda x: convolve(x, jnp.ones((3, 3, 1, 4)), (1, 1), "SAME", feature_group_count=4),
    "maximum": lambda x: max_pool(x, 2, 2),
    "average": lambda x: avg_pool_3x3(x, count_padding=False),
}


def is_plain(function, *arguments):
    """Tell whether a function is lowered to operations of XLA's own."""
    text = (function if hasattr(function, "lower") else jax.jit(function)).lower(*arguments).as_text()
    return any(name in text for name in XLAS)


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_the_switch_chooses_what_is_traced_within_it(operation):
    compiled = jax.jit(operation)
    assert not is_plain(compiled, x)
    with lowerings("plain"):
        assert is_plain(compiled, x)  # though it was traced before
        with lowerings("auto"):
            assert not is_plain(compiled, x)
        assert is_plain(compiled, x)
    assert not is_plain(compiled, x)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_other_platforms_get_the_plain_one(operation, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert is_plain(lambda x: operation(x), x)  # a function that was not traced before
    assert jax.jvp(operation, (x,), (x,))[1].shape == operation(x).shape


@pytest.mark.parametrize(
    ("best", "default", "expected"),
    [("cpu", None, True), ("gpu", None, False), ("gpu", "cpu", True), ("tpu", jax.devices("cpu")[0], True)],
)
def test_the_default_device_decides(monkeypatch, best, default, expected):
    monkeypatch.setattr(jax, "default_backend", lambda: best)
    with jax.default_device(default):
        assert for_cpu() == expected
        with lowerings("plain"):
            assert not for_cpu()


def test_it_decorates_a_function_and_counts_for_one_thread():
    @lowerings("plain")
    def plain():
        with ThreadPoolExecutor(1) as other:
            return for_cpu(), other.submit(for_cpu).result()

    assert [plain(), plain()] == [(False, jax.default_backend() == "cpu")] * 2
    with contextlib.suppress(KeyError), lowerings("plain"):
        raise KeyError
    assert for_cpu() == (jax.default_backend() == "cpu")


@pytest.mark.parametrize("kind", ["Plain", "", None, 1])
def test_another_word_is_refused(kind, refuses):
    with refuses(ConfigError, f"lowerings: {kind!r} is neither 'auto' nor 'plain'"):
        lowerings(kind)


def model_of(name, shape, stages, **how):
    """Build the first stages of a base, with a head: what follows is more of the same."""
    whole = build_model(ModelConfig(name, 3, shape, **how))
    model = Classifier(cut(whole.base, whole.base.stage_names[stages - 1]), whole.head)
    return model, initialise(model, shape, 0)


@pytest.mark.parametrize(
    ("name", "shape", "stages", "how"),
    slow_but(
        "cnn",
        of=[
            ("cnn", (28, 28, 1), 2, {"pool": "flatten"}),
            ("resnet18", (32, 32, 3), 3, {}),
            ("mobilenet_v2_keras", (32, 32, 3), 4, {}),
        ],
    ),
)
def test_networks_have_a_forward_mode_which_agrees_with_the_reverse_mode(name, shape, stages, how):
    model, variables = model_of(name, shape, stages, **how)
    draw = np.random.default_rng(0)
    x, tangent = (draw.normal(size=(2, *shape)).astype(np.float32) for _ in range(2))

    def logits(x):
        return model.apply(variables, x)

    with lowerings("plain"):
        out, forward = jax.jit(lambda x, tangent: jax.jvp(logits, (x,), (tangent,)))(x, tangent)
    usual, pull = jax.vjp(jax.jit(logits), x)  # on a CPU of other operations
    cotangent = draw.normal(size=out.shape).astype(np.float32)
    np.testing.assert_allclose(out, usual, rtol=1e-3, atol=1e-4 * np.abs(usual).max())
    np.testing.assert_allclose((forward * cotangent).sum(), (tangent * pull(cotangent)[0]).sum(), rtol=2e-3)


@pytest.mark.usefixtures("cpu")
def test_programs_of_the_library_are_traced_anew():
    model, variables = model_of("cnn", (28, 28, 1), 2, pool="flatten")
    labels = jax.tree.map(lambda _: "all", variables["params"])
    tx = optimizer(labels, {"all": Group(Constant(0.1))}, 10)
    step = make_train_step(model, labels, tx, Classification())
    params = variables["params"]
    state = TrainState(jnp.int32(0), params, {}, tx.init(params), jax.random.key(0), Totals.zero())
    frozen = jax.tree.map(lambda _: None, params)
    batch = {"input": jnp.ones((2, 28, 28, 1)), "target": jnp.zeros(2, jnp.int32)}
    preprocess = Preprocess(28, 28, 1)
    stage = model.base.stage_names[1]

    def found():
        return "select_and_scatter" in step.lower(state, frozen, batch).as_text(), program_sha256(
            model, variables, preprocess, np.zeros((1, 28, 28, 1), np.uint8), stage
        )

    usual = found()
    with lowerings("plain"):
        plain = found()
    assert (usual[0], plain[0]) == (False, True)
    assert usual[1] != plain[1]
    assert found() == usual


@pytest.mark.usefixtures("cpu")
def test_a_program_of_pmap_is_traced_anew():
    pooled = jax.pmap(OPERATIONS["maximum"])
    assert not is_plain(pooled, x[None])
    with lowerings("plain"):
        assert is_plain(pooled, x[None])
    assert not is_plain(pooled, x[None])


@pytest.mark.slow
def test_a_fit_under_the_switch_compiles_ahead_as_any_other():
    base, data = tlx.load("cnn-mnist"), tlx.load_data("digits", labels_per_class=2)
    recipe = tlx.recipes.scratch(base.stages, epochs=2)
    with lowerings("plain"):
        fit = tlx.fit(base.with_head(data.classes), recipe, data, tlx.TrainOptions(batch_size=10))
    assert fit.history[1]["compiled"] == 0
