"""Paths: the leaves of a nested dict named by '/'-joined strings, and the patterns that select them."""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tlx.errors import ConfigError

Tree = Any  # a nested dict with string keys; leaves are arrays, or anything else that is not a dict

SEPARATOR = "/"


def flatten(tree: Tree) -> dict[str, Any]:
    """Turn a nested dict into a flat one from path to leaf, in the tree's own order.

    The inverse is `unflatten`. Empty dicts have no leaves and do not come back. Raise `ConfigError` for a key that is
    not a string, is empty, or holds a '/'.

    >>> flatten({"base": {"conv1": {"kernel": 1, "bias": 2}}, "head": {"kernel": 3}})
    {'base/conv1/kernel': 1, 'base/conv1/bias': 2, 'head/kernel': 3}
    """
    return dict(_walk(tree, ()))


def _walk(tree: Tree, above: tuple[str, ...]) -> Iterable[tuple[str, Any]]:
    if not isinstance(tree, Mapping):
        yield SEPARATOR.join(above), tree
        return
    for key, child in tree.items():
        if not isinstance(key, str) or not key or SEPARATOR in key:
            where = SEPARATOR.join(above) or "the root"
            raise ConfigError(f"key {key!r} under {where} cannot be part of a path: use a non-empty string without '/'")
        yield from _walk(child, (*above, key))


def unflatten(leaves: Mapping[str, Any]) -> Tree:
    """Turn a flat dict from path to leaf into a nested dict; the inverse of `flatten`.

    Raise `ConfigError` for a path with an empty name, and where one path goes on below another path's leaf.

    >>> unflatten({"base/conv1/kernel": 1, "head/kernel": 3})
    {'base': {'conv1': {'kernel': 1}}, 'head': {'kernel': 3}}
    """
    if set(leaves) == {""}:
        return leaves[""]
    tree: dict[str, Any] = {}
    branches = {id(tree)}
    for path, leaf in leaves.items():
        *above, last = names = path.split(SEPARATOR)
        if not all(names):
            raise ConfigError(f"path {path!r} has an empty name: write it like 'base/conv1/kernel'")
        node = tree
        for key in above:
            if key not in node:
                node[key] = {}
                branches.add(id(node[key]))
            node = node[key]
            if id(node) not in branches:
                raise ConfigError(f"path {path!r} goes on below another path's leaf at {key!r}")
        if last in node:
            raise ConfigError(f"path {path!r} is both a leaf and a branch, or given twice")
        node[last] = leaf
    return tree


def map_with_path(function: Callable[..., Any], tree: Tree, *rest: Tree) -> Tree:
    """Apply `function(path, leaf, *other_leaves)` to every leaf of trees of one structure, None leaves included.

    Empty subtrees do not come back, as after `flatten`. Raise `ConfigError` naming the paths where the trees differ.

    >>> map_with_path(lambda path, leaf: path + "!", {"a": {"b": 1}})
    {'a': {'b': 'a/b!'}}
    """
    first, others = flatten(tree), [flatten(other) for other in rest]
    for other in others:
        if other.keys() != first.keys():
            raise ConfigError(f"trees differ at {quote(sorted(other.keys() ^ first.keys()))}")
    return unflatten({path: function(path, leaf, *(o[path] for o in others)) for path, leaf in first.items()})


def matches(pattern: str, path: str) -> bool:
    """Tell whether a pattern selects a path.

    A pattern is a path, or the upper part of one (it then selects all below it). In it `*` stands for any text within
    one name, `?` for one character, and the name `**` for any number of names.

    >>> [matches(p, "base/conv1/kernel") for p in ("base", "base/conv*", "**/kernel", "base/*/bias", "conv1", "bas")]
    [True, True, True, False, False, False]
    """
    return _compile(pattern).fullmatch(path) is not None


@functools.cache
def _compile(pattern: str) -> re.Pattern[str]:
    names = pattern.split(SEPARATOR)
    if not all(names):
        raise ConfigError(f"pattern {pattern!r} has an empty name: write it like 'base/conv1' or '**/bias'")
    whole = ""
    for name in names[:-1]:
        whole += "(?:[^/]+/)*" if name == "**" else _one_name(name) + "/"
    whole += ".+" if names[-1] == "**" else _one_name(names[-1]) + "(?:/.*)?"
    return re.compile(whole, re.DOTALL)


def _one_name(name: str) -> str:
    return "".join({"*": "[^/]*", "?": "[^/]"}.get(character, re.escape(character)) for character in name)


def select(patterns: Iterable[str], paths: Iterable[str]) -> list[str]:
    """List the paths that at least one pattern selects; raise `ConfigError` for a pattern that selects none.

    >>> select(["base/conv*"], ["base/conv1/bias", "base/conv2/bias", "head/bias"])
    ['base/conv1/bias', 'base/conv2/bias']
    """
    patterns, paths = list(patterns), list(paths)
    idle = [pattern for pattern in patterns if not any(matches(pattern, path) for path in paths)]
    if idle:
        raise ConfigError(f"nothing is selected by {quote(idle)}; the paths are {quote(paths)}")
    return [path for path in paths if any(matches(pattern, path) for pattern in patterns)]


def quote(names: Iterable[str], most: int = 12) -> str:
    """Write names for a message: quoted, comma-separated, shortened past `most`.

    >>> quote(["a", "b", "c"], most=2)
    "'a', 'b' and 1 more"
    """
    names = list(names)
    listed = ", ".join(repr(name) for name in names[:most])
    return f"{listed} and {len(names) - most} more" if len(names) > most else listed
