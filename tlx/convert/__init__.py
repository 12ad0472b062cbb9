"""Conversion: read the weight files of other libraries, match them by tables, prove it, and write them back."""

from tlx.convert.certificate import Check, check_certificate, read_certificate
from tlx.convert.identify import Candidate, identify
from tlx.convert.leaves import Conversion
from tlx.convert.plan import Match, Plan, Unused, make_plan
from tlx.convert.read import open_weights
from tlx.convert.rules import Ignored, Row, Table
from tlx.convert.source import Layer, Source, Tensor
from tlx.convert.tables import TABLES
from tlx.convert.verify import Difference, Verification, verify

__all__ = [
    "TABLES",
    "Candidate",
    "Check",
    "Conversion",
    "Difference",
    "Ignored",
    "Layer",
    "Match",
    "Plan",
    "Row",
    "Source",
    "Table",
    "Tensor",
    "Unused",
    "Verification",
    "check_certificate",
    "identify",
    "make_plan",
    "open_weights",
    "read_certificate",
    "verify",
]
