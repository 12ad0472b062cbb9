"""What XLA is told when it compiles for a CPU: which library computes what, and where to optimise does not pay."""

import functools
import os
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import get_opaque_trace_state

OPTION = "xla_cpu_experimental_ynn_fusion_type"
STEPS = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"


def default_platform() -> str:
    """Return the platform that JAX computes on by default: 'cpu', 'gpu' or 'tpu'.

    That of `jax.default_device` where one is set, else of the best device that JAX finds.

    >>> with jax.default_device(jax.devices("cpu")[0]):
    ...     default_platform()
    'cpu'
    """
    device = jax.config.jax_default_device  # type: ignore[attr-defined]
    return str(getattr(device, "platform", device) or jax.default_backend())


def compiler_options() -> dict[str, str]:
    """Return `compiler_options` of `jax.jit` for a function that computes gradients; elsewhere than on a CPU, {}.

    On a CPU, XLA of 2026 leaves products, reductions and convolutions to YNNPACK. Its convolutions, and their gradients
    most of all, take up to five times as long as those of Eigen, which XLA has, too (`benchmarks/convolution.py`); so
    it is left the first two.

    Returns:
        The options for `jax.jit`, which takes them for the outermost compiled function only. {} where `XLA_FLAGS` say
        already what YNNPACK gets, and where XLA does not know the option.

    Example:
        >>> step = jax.jit(jax.grad(lambda x: x**2), compiler_options=compiler_options())
        >>> float(step(1.0))
        2.0
    """
    return _ynnpack(STEPS, default_platform())


def forward_options() -> dict[str, str]:
    """Return `compiler_options` of `jax.jit` for a function without gradients; elsewhere than on a CPU, {}.

    YNNPACK is left nothing. It is quick at large reductions, which gradients have; a forward pass of a network is up to
    1.16 times as fast without it (`benchmarks/README.md`).

    Returns:
        Options as those of `compiler_options`.

    Example:
        >>> forward = jax.jit(lambda x: 2 * x, compiler_options=forward_options())
        >>> float(forward(1.0))
        2.0
    """
    return _ynnpack("", default_platform())


@functools.cache
def _ynnpack(fusions: str, platform: str) -> dict[str, str]:
    if platform != "cpu" or OPTION in os.environ.get("XLA_FLAGS", ""):
        return {}
    options = {OPTION: fusions}
    try:
        with jax.core.eval_context():  # whoever asks may be tracing
            jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return options


def hasty_options() -> dict[str, str]:
    """Return `compiler_options` of `jax.jit` for what runs once and needs no network; elsewhere than on a CPU, {}.

    On a CPU, to compile the drawing of random numbers, a loop a leaf, takes LLVM far longer than to draw them, and much
    of it is to optimise. With less of that the numbers are the same, but for rounding.
    """
    return {"xla_backend_optimization_level": "1"} if default_platform() == "cpu" else {}


def jit(
    function: Callable[..., Any], options: Callable[[], dict[str, str]] = compiler_options, **arguments: Any
) -> "Compiled":
    """Compile as `jax.jit` does, with the options for XLA that the device is best served with.

    Args:
        function: What to compile.
        options: Returns the options: `compiler_options` for what computes gradients, `forward_options` for what does
            not. It is called with the function, not with `jit`, so that to load a module looks for no device.
        **arguments: As `jax.jit` takes them: `static_argnums`, `donate_argnums`, …

    Returns:
        The function, compiled at its first call and called like `function`, by position or by name. JAX takes options
        for an outermost program only: called while JAX traces or differentiates another function it is a part of that
        one, as by `jax.jit`, and the options have to be given there.

    Example:
        >>> import jax.numpy as jnp
        >>> total = jit(jnp.sum, static_argnames="axis")
        >>> total(jnp.ones((2, 3)), axis=1).tolist()
        [3.0, 3.0]
    """
    return Compiled(function, options, arguments)


class Compiled:
    """A function that `jit` compiles; `__wrapped__` is that function."""

    __wrapped__: Callable[..., Any]

    def __init__(
        self, function: Callable[..., Any], options: Callable[[], dict[str, str]], arguments: dict[str, Any]
    ) -> None:
        functools.update_wrapper(self, function)
        self._options, self._arguments = options, arguments
        self._by_options: dict[tuple[tuple[str, str], ...], Any] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._with(self._options() if _is_outermost() else {})(*args, **kwargs)

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        """Lower for these arguments, as that of `jax.jit` does."""
        return self._with(self._options()).lower(*args, **kwargs)

    def _with(self, options: dict[str, str]) -> Any:
        """Return the function as `jax.jit` compiles it with these options, which change with the default device."""
        key = tuple(sorted(options.items()))
        if key not in self._by_options:
            compiled = jax.jit(self.__wrapped__, compiler_options=options or None, **self._arguments)
            self._by_options.setdefault(key, compiled)  # of two threads one must not compile for itself alone
        return self._by_options[key]


def _is_outermost() -> bool:
    """Tell whether JAX evaluates what it is given now, and neither traces nor transforms a function around it."""
    return bool(get_opaque_trace_state(convention="tlx") == _evaluating())


@functools.cache
def _evaluating() -> Any:
    with jax.core.eval_context():
        return get_opaque_trace_state(convention="tlx")
