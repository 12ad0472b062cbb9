"""Records: what a run leaves in its directory, each file written and read in one place."""

from tlx.records.description import Description
from tlx.records.epoch import Epoch
from tlx.records.evaluation import Evaluation, read_evaluation, write_answers
from tlx.records.outcome import Outcome, read_outcome
from tlx.records.phase import PhasePlan, PhaseRecord, Stage
from tlx.records.result import Result
from tlx.records.texts import TextRecord, read_texts

__all__ = [
    "Description",
    "Epoch",
    "Evaluation",
    "Outcome",
    "PhasePlan",
    "PhaseRecord",
    "Result",
    "Stage",
    "TextRecord",
    "read_evaluation",
    "read_outcome",
    "read_texts",
    "write_answers",
]
