"""Compile ahead: the programs of a phase, in the background, while data load or the phase before trains."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tlx.devices import hosts
from tlx.optim.memory import Memory
from tlx.progress import doing
from tlx.training.cache import StageActivations
from tlx.training.programs import Program
from tlx.training.shapes import predicted_shapes
from tlx.training.task import Task
from tlx.tree.paths import Tree

WHAT = {"train": "the step", "validate": "the validation"}


class Ahead:
    """Compiles the programs of a recipe's phases one after the other, in a thread of its own.

    They are traced by the thread that asks (what JAX is told by context managers counts for one thread only), and
    what XLA makes of them is found by JAX when they are called. What a phase needs is predicted from the recipe and
    the cache's plan; where that was wrong, the phase compiles as it begins.
    """

    def __init__(self, task: Task, cache: StageActivations) -> None:
        self.task, self.cache = task, cache
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="tlx-compile")
        self._prepared: dict[int, Program] = {}
        self._compiling: dict[tuple[int, str], list[Future[Any]]] = {}

    def prepare(self, index: int, variables: Tree, memory: Memory) -> None:
        """Begin to compile what a phase of the recipe needs, if it does not end before."""
        if self.task.placement.by == "pmap" and hosts.count() > 1:  # which pmap cannot trace for shapes alone
            return
        predicted = predicted_shapes(self.task, index, self.cache, variables, memory)
        if self._prepared.get(index) == predicted[0].program:
            return
        self._prepared[index] = predicted[0].program
        for what in WHAT:
            lowered = [each.lower_training() if what == "train" else each.lower_validation() for each in predicted]
            compiling = [self._pool.submit(each.compile) for each in lowered if each is not None]
            if compiling:
                self._compiling[index, what] = compiling

    def wait(self, index: int, what: str) -> None:
        """Wait until what a phase needs to "train" or to "validate" is compiled."""
        running = self._compiling.pop((index, what), [])
        for number, each in enumerate(running):
            doing(f"compiling {WHAT[what]} of phase {self.task.recipe[index].name!r}", number, len(running))
            if fault := each.exception():  # the phase will compile, and tell, itself
                logging.getLogger("tlx").info("tlx: could not compile ahead: %s", fault)

    def close(self) -> None:
        """Compile no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
