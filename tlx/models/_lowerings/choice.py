"""Choose, as a program is traced, between XLA's own operations and tlx's lowerings of them for a CPU."""

import contextlib
from collections.abc import Iterator
from typing import Any, Literal, get_args

import jax

from tlx.devices.compiler import default_platform
from tlx.errors import ConfigError

Kind = Literal["auto", "plain"]

# A context of JAX's own: its value is a part of the key of each trace and each compiled program, so that nothing that
# was traced under one value is used under another, in whatever function of the user's or of tlx's it happens. It holds
# for one thread. JAX wants contexts to be added while no other thread is in it: this is done as tlx.models is imported.
_kind: Any = jax.make_user_context("auto")


def lowerings(kind: Kind) -> contextlib.AbstractContextManager[None]:
    """Trace models in this context, or in a function that this decorates, with the operations named.

    Convolutions and pools of tlx's models are computed by other operations where these are faster, and those for
    depthwise convolutions and pools can be differentiated in reverse mode only. Which ones a program gets is decided
    where it is traced: by the device that JAX computes on there by default (`jax.default_device`, else the best there
    is), not by that on which its arrays happen to lie.

    Args:
        kind: "plain" for XLA's own operations everywhere, which `jax.jvp`, `jax.jacfwd` and second derivatives need,
            as does a program that is exported for another platform (`jax.export`). "auto", the default outside of any
            context, for tlx's on a CPU and XLA's own elsewhere. The two agree to rounding.

    Returns:
        A context manager, which is a decorator as well. It counts for the thread that enters it. A function that was
        compiled under one kind is traced anew under another.

    Raises:
        ConfigError: `kind` is neither.

    Example:
        >>> import jax, jax.numpy as jnp, tlx
        >>> base = tlx.load("mlp-mnist")
        >>> images = jnp.ones((1, *base.config.input_shape))
        >>> with tlx.models.lowerings("plain"):
        ...     logits, tangents = jax.jvp(lambda x: base.model.apply(base.variables, x), (images,), (images,))
        >>> tangents.shape
        (1, 10)
    """
    if kind not in get_args(Kind):
        raise ConfigError(f"lowerings: {kind!r} is neither 'auto' nor 'plain': write tlx.models.lowerings('plain')")
    return _traced_with(kind)


@contextlib.contextmanager
def _traced_with(kind: Kind) -> Iterator[None]:
    with _kind(kind):
        yield


def for_cpu() -> bool:
    """Tell whether what is traced now is to have the operations that are fastest on a CPU."""
    return _kind.value == "auto" and default_platform() == "cpu"
