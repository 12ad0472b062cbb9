"""What a fit returns, and with which the next one can go on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tlx.data.inputs import InputSpec
from tlx.errors import ConfigError
from tlx.models.staged import StagedModel
from tlx.objectives import Objective
from tlx.optim.memory import Memory
from tlx.optim.phases import Phase
from tlx.records.phase import PhaseRecord
from tlx.training.history import History
from tlx.tree.paths import Tree, flatten, matches, quote


@dataclass(frozen=True, repr=False)
class Fit:
    """A fitted model: what `fit` returns, and takes again to train on.

    `variables` is the whole tree, `phases` has a record of each phase and `history` one of each epoch, both since the
    first fit of those that went on from one another. `memory` is the optimizer's state by path.
    """

    variables: Tree
    phases: tuple[PhaseRecord, ...]
    history: History
    memory: Memory
    model: StagedModel
    preprocess: InputSpec
    objective: Objective

    def __repr__(self) -> str:
        epochs = sum(phase.epochs for phase in self.phases)
        phases = f"{len(self.phases)} phase{'s' if len(self.phases) != 1 else ''}"
        return "\n  ".join([f"Fit({phases}, {epochs} epoch{'s' if epochs != 1 else ''})", *map(str, self.phases)])


def check_continues(fit: Fit, phase: Phase) -> None:
    """Raise `ConfigError` where nothing of a fit would be left in a phase that goes on from it, or its state is not its
    variables'.
    """
    leaves: Mapping[str, Any] = flatten(fit.variables["params"])
    if all(any(matches(pattern, path) for pattern in phase.fresh) for path in leaves):
        raise ConfigError(
            f"phase {phase.name!r} initialises all parameters anew, and nothing of the fit would be left: go on with "
            "tlx.recipes.further(stages, epochs=...)"
        )
    other = [path for path, shape in fit.memory.shapes.items() if path not in leaves or shape != leaves[path].shape]
    if other:
        raise ConfigError(
            f"the optimizer's state is not that of the variables: {quote(other)} changed; pass the model, its "
            "variables and its preprocessing instead of the Fit to begin with a new state"
        )
