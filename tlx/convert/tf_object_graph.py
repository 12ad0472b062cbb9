"""Take the full names of tensors from the object graph that TensorFlow 2 saves with them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator

from tlx.convert.wire import WireError, as_stretch, read_fields

GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The key of the object graph, a text among the tensors."""

_MAX_FIELDS = 2_000_000  # a network of 100,000 variables has about half as many
_MAX_NAME = 4096
_STATE = re.compile(r"(.*/)?(\.OPTIMIZER_SLOT|_?optimizer|keras_api/metrics)/.*")


def full_names(graph: bytes, keys: Collection[str]) -> dict[str, str]:
    """Name tensors as the program did that made them ('conv1/kernel'), where the graph tells.

    TensorFlow 2 keys a tensor by its path through Python objects ('layer-1/kernel/.ATTRIBUTES/VARIABLE_VALUE'). A name
    that several tensors have, as Keras 3 gives them, tells none of them apart: they keep their keys. So do tensors of
    optimizers and metrics, whose keys say what they are, while their names begin as anybody called the optimizer.

    Args:
        graph: a TrackableObjectGraph (tensorflow/core/protobuf/trackable_object_graph.proto), serialized. References
            from object to object are not followed, so that they may be cyclic.
        keys: the keys of the tensors.

    Returns:
        The name of each key, no two alike.

    Raises:
        WireError: where the graph is damaged, or has more than two million fields.

    >>> attribute = bytes([0x12, 4]) + b"fc/b" + bytes([0x1A, 3]) + b"0/b"
    >>> node = bytes([0x12, len(attribute)]) + attribute
    >>> full_names(bytes([0x0A, len(node)]) + node, ["0/b", "1/b"])
    {'0/b': 'fc/b', '1/b': '1/b'}
    """
    told: dict[str, str] = {}
    wanted = {key for key in keys if not _STATE.fullmatch(key)}
    unclear = set()
    for key, name in _attributes(graph):
        if key in wanted and told.setdefault(key, name) != name:
            unclear.add(key)
    counts = Counter(told.values())
    taken = set(keys)
    return {
        key: told[key]
        if key in told and key not in unclear and counts[told[key]] == 1 and told[key] not in taken
        else key
        for key in keys
    }


def _attributes(graph: bytes) -> Iterator[tuple[str, str]]:
    """Yield the key and the full name of each value that an object of the graph has, where there are both."""
    count = 0
    for number, node in read_fields(graph):
        count += 1
        if number != 1:  # nodes
            continue
        for inner, value in read_fields(graph, *as_stretch(node)):
            count += 1
            if count > _MAX_FIELDS:
                raise WireError(f"its object graph has more than {_MAX_FIELDS} fields")
            if inner != 2:  # attributes
                continue
            texts = {}
            for which, text in read_fields(graph, *as_stretch(value)):
                count += 1
                if which in (2, 3):  # full_name, checkpoint_key
                    texts[which] = _text(graph, *as_stretch(text))
            if texts.get(2) and 3 in texts:
                yield texts[3], texts[2]


def _text(graph: bytes, at: int, end: int) -> str:
    if end - at > _MAX_NAME:
        raise WireError(f"a name of {end - at} bytes, where names have at most {_MAX_NAME}")
    try:
        return graph[at:end].decode()
    except UnicodeDecodeError as error:
        raise WireError("a name that is no UTF-8") from error
