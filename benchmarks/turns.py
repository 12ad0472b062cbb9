"""Run programs in turns, each in a process of its own, so that a busy moment of the machine hits all alike."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any


class Absent(Exception):
    """A peer that is not installed."""


def serve(prepare: Callable[[], Callable[[], Any]]) -> None:
    """Be one of the processes: prepare, then answer each line on standard input with what a run returned, as JSON.

    Whatever libraries print goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        run = prepare()
    except (Absent, ImportError) as error:
        print(json.dumps({"absent": str(error)}), file=answers)
        return
    print(json.dumps({"ready": True}), file=answers)
    for _ in sys.stdin:
        print(json.dumps(run()), file=answers)


def in_turns(programs: dict[str, Sequence[str]], rounds: int) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Start a process for each program, ask all of them in turn `rounds` times, and return their answers.

    Beside them stand the programs that are absent, with the reason. Processes wait for their turn without work.
    """
    answers: dict[str, list[Any]] = {}
    absent: dict[str, str] = {}
    with ExitStack() as stack:
        running = {}
        for name, program in programs.items():
            process = stack.enter_context(_started(program))
            greeting = _answer(name, process)
            if "absent" in greeting:
                absent[name] = greeting["absent"]
                continue
            running[name], answers[name] = process, []
        for turn in range(rounds):
            for name, process in running.items():
                print("go", file=process.stdin, flush=True)
                answers[name].append(_answer(name, process))
                print(f"{turn + 1}/{rounds} {name}: {answers[name][-1]}", file=sys.stderr)
        for process in running.values():
            process.stdin.close()
    return answers, absent


def _started(program: Sequence[str]) -> "subprocess.Popen[str]":
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )


def _answer(name: str, process: "subprocess.Popen[str]") -> Any:
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"{name} stopped with {process.wait()}: run {' '.join(map(str, process.args))} to see why")
    return json.loads(line)


def median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def versions(*names: str) -> dict[str, str]:
    """Return the versions of the distributions that are installed."""
    from importlib import metadata

    found = {"python": sys.version.split()[0]}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
