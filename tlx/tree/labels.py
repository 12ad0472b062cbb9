"""Labels: an ordered list of (pattern, label) rules turns a tree of parameters into a tree of labels."""

from collections.abc import Sequence

from tlx.errors import ConfigError
from tlx.tree.paths import Tree, flatten, map_with_path, matches, quote, unflatten

FROZEN = "frozen"

Rules = Sequence[tuple[str, str]]


def label_tree(tree: Tree, rules: Rules) -> Tree:
    """Give every leaf the label of the first rule whose pattern selects its path (`tlx.tree.matches`).

    The label 'frozen' is reserved for leaves that must not change. Raise `ConfigError` for a leaf without a rule and
    for a rule without a leaf (no path fits it, or earlier rules took them all), naming the paths and the rules.

    >>> label_tree({"base": {"kernel": 0.0}, "head": {"kernel": 0.0}}, [("base", "frozen"), ("**", "head")])
    {'base': {'kernel': 'frozen'}, 'head': {'kernel': 'head'}}
    """
    paths = list(flatten(tree))
    taken: dict[str, int] = {}
    for path in paths:
        first = next((index for index, (pattern, _) in enumerate(rules) if matches(pattern, path)), None)
        if first is not None:
            taken[path] = first
    bare = [path for path in paths if path not in taken]
    if bare:
        raise ConfigError(f"no rule labels {quote(bare)}: add a rule such as ('**', 'frozen') at the end")
    used = set(taken.values())
    idle = [pattern for index, (pattern, _) in enumerate(rules) if index not in used]
    if idle:
        raise ConfigError(
            f"no leaf is left for the rules {quote(idle)}: mend or remove them; the paths are {quote(paths)}"
        )
    return unflatten({path: rules[index][1] for path, index in taken.items()})


def mask_of(labels: Tree, label: str) -> Tree:
    """Turn a tree of labels into a mask that is true where the label is `label`.

    >>> mask_of({"base": "frozen", "head": "head"}, "head")
    {'base': False, 'head': True}
    """
    return map_with_path(lambda _, leaf: leaf == label, labels)


def trainable_mask(labels: Tree) -> Tree:
    """Turn a tree of labels into a mask that is true where the label is anything but 'frozen'.

    >>> trainable_mask({"base": "frozen", "head": "head"})
    {'base': False, 'head': True}
    """
    return map_with_path(lambda _, leaf: leaf != FROZEN, labels)
