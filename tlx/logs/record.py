"""The record of an epoch: what of it is measured, what is a curve, and how it makes a row of a table."""

from collections.abc import Mapping
from typing import Any

from tlx.records.epoch import PLACE


def figures_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Name what an epoch's record measured, in its order: the loss, the metrics, and those of validation.

    >>> figures_of({"phase": "head", "epoch": 1, "loss": 2.5, "mae": 1.5, "val_loss": None, "seconds": 0.1})
    ('loss', 'mae', 'val_loss')
    """
    return tuple(name for name in record if name not in PLACE)


def scalars_of(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of an epoch's record that a curve is drawn of: its figures that are known, and the rates.

    >>> scalars_of({"phase": "head", "epoch": 1, "loss": 2.5, "val_loss": None, "rates": {"head": 0.1}})
    {'loss': 2.5, 'rate/head': 0.1}
    """
    figures = {name: record[name] for name in figures_of(record) if record[name] is not None}
    return figures | {f"rate/{label}": rate for label, rate in record.get("rates", {}).items()}


def row_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return an epoch's record as a row of a table, the rates in columns of their own.

    >>> row_of({"epoch": 1, "loss": 2.5, "rates": {"head": 0.1}})
    {'epoch': 1, 'loss': 2.5, 'rate/head': 0.1}
    """
    rates = {f"rate/{label}": rate for label, rate in record.get("rates", {}).items()}
    return {**{name: value for name, value in record.items() if name != "rates"}, **rates}
