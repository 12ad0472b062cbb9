"""What XLA is told when it compiles for a CPU: which library convolves, and where to optimise does not pay."""

import functools
import os
from collections.abc import Callable
from typing import Any

import jax

OPTION = "xla_cpu_experimental_ynn_fusion_type"
LIBRARIES = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"


@functools.cache
def compiler_options() -> dict[str, str]:
    """Return what to give `jax.jit` as `compiler_options` for a function that convolves; elsewhere than on a CPU, {}.

    On a CPU, XLA of 2026 leaves products, reductions and convolutions to YNNPACK. Its convolutions, and their slopes
    most of all, take up to five times as long as those of Eigen, which XLA has, too (`benchmarks/convolution.py`); so
    it is left the first two. {} as well where `XLA_FLAGS` say what YNNPACK gets, and where XLA does not know the
    option.

    >>> step = jax.jit(lambda x: 2 * x, compiler_options=compiler_options())
    >>> float(step(1.0))
    2.0
    """
    if jax.default_backend() != "cpu" or OPTION in os.environ.get("XLA_FLAGS", ""):
        return {}
    options = {OPTION: LIBRARIES}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return options


def hasty_options() -> dict[str, str]:
    """Return `compiler_options` for a function that runs once and needs no network; elsewhere than on a CPU, {}.

    On a CPU, to compile the drawing of random numbers, a loop a leaf, takes LLVM far longer than to draw them, and much
    of it is to optimise. With less of that the numbers are the same, but for rounding.
    """
    return {"xla_backend_optimization_level": "1"} if jax.default_backend() == "cpu" else {}


def jit(function: Callable[..., Any], options: Callable[[], dict[str, str]] = compiler_options, **how: Any) -> Any:
    """Compile as `jax.jit` does, with `options()`, at the first call: to load a module looks for no device.

    Called while another function is traced, it is a part of that one, to which the options would have to be given.

    >>> import jax.numpy as jnp
    >>> total = jit(jnp.sum, static_argnums=1)
    >>> total(jnp.ones((2, 3)), 1).tolist()
    [3.0, 3.0]
    """
    return _Compiled(function, options, how)


class _Compiled:
    __wrapped__: Callable[..., Any]

    def __init__(
        self, function: Callable[..., Any], options: Callable[[], dict[str, str]], how: dict[str, Any]
    ) -> None:
        functools.update_wrapper(self, function)
        self._options, self._how = options, how

    def __call__(self, *given: Any) -> Any:
        try:
            return self._top(*given)
        except ValueError as fault:
            if "`compiler_options` can only be passed to top-level" not in str(fault):
                raise
            return self._nested(*given)

    def lower(self, *given: Any) -> Any:
        return self._top.lower(*given)

    @functools.cached_property
    def _top(self) -> Any:
        return jax.jit(self.__wrapped__, compiler_options=self._options(), **self._how)

    @functools.cached_property
    def _nested(self) -> Any:
        return jax.jit(self.__wrapped__, **self._how)
