"""Summary: a table of a model's leaves and the totals of what trains and what is frozen."""

import math
from dataclasses import dataclass
from typing import Any

from tlx.table import html_table, text_table
from tlx.tree.labels import FROZEN
from tlx.tree.paths import Tree, flatten, map_with_path


@dataclass(frozen=True)
class Row:
    """One leaf: its path, shape, dtype, number of parameters, label and stage; whether it is a batch statistic."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    parameters: int
    label: str
    stage: str
    is_statistic: bool = False


@dataclass(frozen=True, repr=False)
class Summary:
    """The rows of a summary table, and totals over them (all in parameters).

    Batch statistics count as frozen parameters, as Keras counts them.
    """

    rows: tuple[Row, ...]

    def __repr__(self) -> str:
        totals = ", ".join(f"{name} {count:,}" for name, count in self.totals().items())
        return f"Summary({len(self.rows)} leaves: {totals})"

    def _table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        cells = [(row.path, "x".join(map(str, row.shape)), row.parameters, row.label) for row in self.rows]
        return ("path", "shape", "parameters", "label"), cells

    def __str__(self) -> str:
        return f"{text_table(*self._table())}\n{'   '.join(f'{name} {n:,}' for name, n in self.totals().items())}"

    def _repr_html_(self) -> str:
        return html_table(*self._table()) + html_table(tuple(self.totals()), [tuple(self.totals().values())])

    @property
    def total(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def base(self) -> int:
        return sum(row.parameters for row in self.rows if row.path.startswith("base/"))

    @property
    def head(self) -> int:
        return sum(row.parameters for row in self.rows if row.path.startswith("head/"))

    @property
    def trainable(self) -> int:
        return sum(row.parameters for row in self.rows if row.label != FROZEN)

    @property
    def frozen(self) -> int:
        return self.total - self.trainable

    def totals(self) -> dict[str, int]:
        """Return the five totals by name."""
        return {name: getattr(self, name) for name in ("total", "base", "head", "trainable", "frozen")}

    def by_label(self) -> dict[str, int]:
        """Return the number of parameters of each label."""
        counts: dict[str, int] = {}
        for row in self.rows:
            counts[row.label] = counts.get(row.label, 0) + row.parameters
        return counts

    def by_stage(self) -> dict[str, dict[str, Any]]:
        """Return each stage's label (several are joined by ' + ') and number of parameters."""
        stages: dict[str, list[Row]] = {}
        for row in self.rows:
            stages.setdefault(row.stage, []).append(row)
        return {
            stage: {
                "label": " + ".join(dict.fromkeys(row.label for row in rows if not row.is_statistic)),
                "parameters": sum(row.parameters for row in rows),
            }
            for stage, rows in stages.items()
        }


def stage_of(path: str) -> str:
    """Return the stage that a path below 'params' belongs to: its name in the base, or 'head'.

    >>> stage_of("base/conv1/kernel"), stage_of("head/logits/bias")
    ('conv1', 'head')
    """
    first, _, rest = path.partition("/")
    return rest.split("/")[0] if first == "base" and "/" in rest else first


def summarize(variables: Tree, labels: Tree | None = None) -> Summary:
    """Tabulate a model's variables `{'params': …, 'batch_stats': …}`: arrays, or shapes with a dtype.

    `labels` is a tree of labels over `params` (`label_tree`); without it every parameter has the label 'trainable'.
    Raise `ConfigError` naming the paths where the two trees differ.

    >>> import numpy as np
    >>> variables = {"params": {"base": {"d": {"kernel": np.zeros((2, 3))}}, "head": {"bias": np.zeros(3)}}}
    >>> summary = summarize(variables, {"base": {"d": {"kernel": "frozen"}}, "head": {"bias": "head"}})
    >>> summary.totals()
    {'total': 9, 'base': 6, 'head': 3, 'trainable': 3, 'frozen': 6}
    >>> summary.rows[0]
    Row(path='base/d/kernel', shape=(2, 3), dtype='float64', parameters=6, label='frozen', stage='d',
        is_statistic=False)
    """
    params = variables["params"]
    if labels is None:
        labels = map_with_path(lambda *_: "trainable", params)
    rows = list(flatten(map_with_path(_row, params, labels)).values())
    rows += [_row(path, leaf, FROZEN, True) for path, leaf in flatten(variables.get("batch_stats", {})).items()]
    return Summary(tuple(rows))


def _row(path: str, leaf: Any, label: str, is_statistic: bool = False) -> Row:
    shape = tuple(leaf.shape)
    return Row(path, shape, str(leaf.dtype), math.prod(shape), label, stage_of(path), is_statistic)
