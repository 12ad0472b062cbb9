"""Several processes, on one host or many, that train one model together."""

import contextlib
import functools
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tlx import errors
from tlx.errors import ConfigError, LostHostError, TlxError

T = TypeVar("T")
HEARTBEAT = 60  # seconds without a word after which a process is taken for dead
LOST = ("Gloo", "Connection closed by peer", "coordination service", "heartbeat", "UNAVAILABLE", "NCCL", "Barrier")


def initialize_distributed(
    coordinator: str | None = None, processes: int | None = None, process: int | None = None, *, timeout: int = 300
) -> None:
    """Join the processes that train together, before anything is computed; all call it, on each host.

    Without arguments JAX finds out about the others from SLURM, Open MPI, Google Kubernetes Engine or Cloud TPU. Else
    `coordinator` is the first process's address, "host:port", and this is number `process` of `processes`, from 0. From
    then on JAX's devices are those of all hosts, and `tlx.fit` and `tlx.finetune` use them: each process reads its own
    rows of each batch. Raise `ConfigError` where the others cannot be found within `timeout` seconds. A process that
    dies ends the others: most of them at once, with `LostHostError`, and by JAX after a minute at the latest.
    """
    given = (coordinator, processes, process)
    if any(each is None for each in given) and any(each is not None for each in given):
        raise ConfigError("coordinator, processes and process go together: give all three, or none where JAX finds out")
    if processes is not None and process is not None and not 0 <= process < processes:
        raise ConfigError(f"process: {process} is not from 0 to {processes - 1}: {processes} processes count from 0")
    try:
        jax.distributed.initialize(
            coordinator, processes, process, initialization_timeout=timeout, heartbeat_timeout_seconds=HEARTBEAT
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"the other processes cannot be joined ({' '.join(str(error).split())[:200]}): name coordinator, processes "
            "and process, the same on all"
        ) from error


def count() -> int:
    """Count the processes that train together.

    >>> count()
    1
    """
    return jax.process_count()


def is_first() -> bool:
    """Tell whether this process writes what is written once: logs, descriptions, results.

    >>> is_first()
    True
    """
    return jax.process_index() == 0


def broadcast_from_first(make: Callable[[], T]) -> T:
    """Do something in the first process alone; return in all what it returned, as JSON knows it, or raise as it did.

    >>> broadcast_from_first(lambda: [1, "two"])
    [1, 'two']
    """
    if count() == 1:
        return make()
    said, fault = "", None
    if is_first():
        try:
            said = json.dumps({"value": make()})
        except Exception as error:
            fault = error
            said = json.dumps({"error": type(error).__name__, "message": str(error)})
    found = json.loads(_said_by_first(said.encode()))
    if fault is not None:
        raise fault
    if "error" in found:
        raise getattr(errors, found["error"], TlxError)(found["message"])
    value: T = found["value"]
    return value


def _said_by_first(said: bytes) -> bytes:
    length = int(multihost_utils.broadcast_one_to_all(np.int64(len(said))))
    padded = np.frombuffer(said.ljust(length), np.uint8)[:length]
    return bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded)))


def check_alike(described: Mapping[str, Any]) -> None:
    """Raise `ConfigError` in all processes where something is not the same in all of them, and name it.

    >>> check_alike({"seed": 0})
    """
    if count() == 1:
        return
    hashes = [hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest() for value in described.values()]
    everyone = np.asarray(multihost_utils.process_allgather(np.frombuffer(b"".join(hashes), np.uint8)))
    everyone = everyone.reshape(count(), len(hashes), -1)
    differ = [key for key, same in zip(described, (everyone == everyone[:1]).all((0, 2)), strict=True) if not same]
    if differ:
        raise ConfigError(f"not the same in all processes: {', '.join(differ)}: give each the same options and data")


def any_of(mine: bool) -> bool:
    """Tell in all processes whether any of them says so.

    >>> any_of(False)
    False
    """
    return bool(_any(np.full(jax.local_device_count(), mine))) if count() > 1 else mine


class Poll:
    """Find out whether any process says so, in all of them alike, and never wait for what the devices do now.

    The answer is that to the question before: by then it is known. All processes must ask as often. In a process by
    itself it is what it says.

    >>> Poll()(True)
    True
    """

    def __init__(self) -> None:
        self._asked: Any = None

    def __call__(self, mine: bool) -> bool:
        if count() == 1:
            return mine
        before, self._asked = self._asked, _any(np.full(jax.local_device_count(), mine))
        return before is not None and bool(before)


def _any(flags: np.ndarray) -> jax.Array:
    over, any_of_all = _program()
    found: jax.Array = any_of_all(jax.make_array_from_process_local_data(over, flags))
    return found


@functools.cache
def _program() -> tuple[NamedSharding, Any]:
    mesh = Mesh(np.array(jax.devices()), ("all",))
    everywhere = NamedSharding(mesh, PartitionSpec())
    return NamedSharding(mesh, PartitionSpec("all")), jax.jit(jnp.any, out_shardings=everywhere)


_GONE = threading.Event()


def is_lost() -> bool:
    """Tell whether another process is known to be gone, so that nothing is waited for."""
    return _GONE.is_set()


@contextlib.contextmanager
def lost_hosts() -> Iterator[None]:
    """Raise `LostHostError` where what went wrong is that another process is gone.

    >>> with lost_hosts():
    ...     pass
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if isinstance(error, TlxError) or count() == 1 or not any(word in str(error) for word in LOST):
            raise
        _GONE.set()
        raise LostHostError(
            f"another process of this run is gone ({' '.join(str(error).split())[:160]}): look at what it said, then "
            "start all of them again with --resume"
        ) from error
