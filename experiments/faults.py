"""Kill, stop, starve and damage a real run, and see that what it comes to is what an untouched one came to.

    python experiments/faults.py --kills 100 --terms 50 --levels 20 --flips 300
    python experiments/faults.py --workload texts pairs words --kills 15 --terms 5 --levels 3 --flips 20

The run is `tlx finetune --recipe gradual`, from a frozen base to one that trains wholly, with dropout, moving averages
and early stopping, as a process of its own that saves as often as it can: an MLP on the digits, or one of texts
(`WORKLOADS`). Its end is summed up as one SHA-256 (`digest`) of its
description, options, metrics, results, export and last checkpoint, all that tells the time left out, and of whether the
checkpoint before the last is what the reference had at that step. Then:

- `kills`: SIGKILL at random ones of its system calls that change files (where strace is there; the first of each run,
  then one in four) and at random moments, ten a run, each followed by a resume; what the run at last comes to must have
  the same digest;
- `terms`: SIGTERM at random moments must lead to exit code 75, or 0 where the run had ended, and to the same digest;
- `levels`: on a disk that fills up at so many different levels, the run must exit with 6, keep a checkpoint that loads
  if there was one, and after more room is given come to the same digest (Linux, user namespaces);
- `flips`: a bit flipped anywhere in the last checkpoint's files must be noticed and the one before it be taken, in one
  time in eight it is flipped, too, and none taken; a run that goes on from the one before must have the same digest;
- `variants`: resumes that leave out one thing of the checkpoint (`VARIANTS`) must each come to another digest: else the
  digest would not see what it is for.

Measured in 21 minutes on two cores with the first command, strace there: 100 kills, 16 of them at system calls, in 28
runs: all resumed, 0 differing digests. 50 SIGTERMs in 9 runs: 50 times exit code 75, none behind the step where it
came, 0 differing digests; 8 times more the run had ended, with 0. Twenty levels of room: 20 times exit code 6, the last
good checkpoint kept 20 times, 0 differing digests. 300 flipped bits: 0 loaded in silence. All seven variants differ.
"""

import contextlib
import hashlib
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[1]
RUN = ["--recipe", "gradual", "--head-epochs", "12", "--base-epochs", "8", "--patience", "6", "--head-rate", "0.05"]
RUN += ["--dropout", "0.3", "--ema", "0.9", "--compare-scratch", "never"]
TEXT_SIZES = {"train": 80, "validation": 30, "test": 30}
WORDS = ("the", "a", "good", "bad", "film", "play", "very", "not", "dull", "fine", "cafe", "car", "cars", "playing")
BERT = ["--base-rate", "0.01", "--batch-size", "20"]
WORKLOADS: Mapping[str, Callable[[Path], list[str]]] = {
    "images": lambda folder: ["--base", "mlp-mnist", "--base-rate", "0.3"],
    "texts": lambda folder: [*_bert(folder), *_tables(folder, 1), "--long", "windows"],  # frozen stages are cached
    "pairs": lambda folder: [
        *(*_bert(folder), *_tables(folder, 2), "--long", "head+tail", "--cache", "off"),
        *("--word-dropout", "0.2", "--mask-pieces", "0.1"),
    ],
    "views": lambda folder: [*_bert(folder), *_tables(folder, 1), "--word-dropout", "0.2", "--cache-views", "2"],
    "words": lambda folder: [*_words(folder), *_tables(folder, 1), "--word-dropout", "0.2", "--batch-size", "20"],
}
OFTEN = ["--checkpoint-every", "0"]
KILLS_A_RUN = 10
CALLS = ("rename", "fsync", "mkdir", "unlink", "rmdir", "ftruncate")
VARIANTS: Mapping[str, Callable[[Any], Any]] = {
    "optimizer": lambda snapshot: replace(snapshot, memory=type(snapshot.memory)()),
    "average": lambda snapshot: replace(snapshot, average=None),
    "key": lambda snapshot: replace(snapshot, key=(0, 0)),
    "position": lambda snapshot: replace(snapshot, batch=0, totals=None),
    "totals": lambda snapshot: replace(snapshot, totals=None),
    "best": lambda snapshot: replace(snapshot, best=None),
    "records": lambda snapshot: replace(snapshot, records=()),
}
STOP_AT = 50  # the question whether to stop after which the variants resume: in an epoch of the second phase


def _bert(folder: Path) -> list[str]:
    """Write a tiny BERT; return the options that name it."""
    sys.path.append(str(ROOT / "tests"))
    from text_models import write_text_folder

    return ["--base", str(write_text_folder(folder / "tiny")), *BERT]


def _words(folder: Path) -> list[str]:
    """Write vectors of some words; return the options that make a base of them."""
    draw = random.Random(1)
    lines = [" ".join([word, *(f"{draw.gauss(0, 1):.4f}" for _ in range(8))]) + "\n" for word in WORDS]
    (folder / "vectors.txt").write_text("".join(lines))
    return ["--base", "glove", "--weights", str(folder / "vectors.txt"), "--pool", "lstm", "--base-rate", "0.05"]


def _tables(folder: Path, texts: int) -> list[str]:
    """Write labelled texts of very different lengths, or pairs of them; return the options that name these."""
    draw = random.Random(texts)
    for part, count in TEXT_SIZES.items():
        rows = [[" ".join(draw.choices(WORDS, k=draw.randint(2, 60))) for _ in range(texts)] for _ in range(count)]
        labels = [int(row[0].count("good") + row[0].count("fine") > row[0].count("bad")) for row in rows]
        lines = ["\t".join([str(label), *row]) + "\n" for label, row in zip(labels, rows, strict=True)]
        (folder / f"{part}.tsv").write_text("".join(lines))
    named = {"--data": "train", "--validation-data": "validation", "--test-data": "test"}
    columns = ["--text", *map(str, range(2, 2 + texts)), "--target", "1"]
    return [*(each for option, part in named.items() for each in (option, str(folder / f"{part}.tsv"))), *columns]


def digest(out: Path, trajectory: Mapping[str, str]) -> str:
    """Return a SHA-256 of all that a finished run came to, apart from times and places.

    `trajectory` holds what the reference was at each step: the checkpoint before the last is of one that chance chose.
    """
    found: dict[str, Any] = {"metrics": [], "result": _timeless(json.loads((out / "result.json").read_text()))}
    for name in ("run.json", "config.yaml"):
        found[name] = (out / name).read_text().replace(str(out), "RUN")
    for line in (out / "metrics.jsonl").read_text().splitlines():
        found["metrics"].append(_timeless(json.loads(line)))
    for file in sorted((*(out / "export").iterdir(), out / "evaluation.npz")):
        found[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    *earlier, last = _checkpoints(out)
    found["checkpoint"] = summed(last)
    found["astray"] = [place for place in map(_place, earlier) if place not in trajectory]
    found["earlier"] = all(trajectory.get(_place(each)) == summed(each) for each in earlier)
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def summed(snapshot: Any) -> str:
    """Sum up a snapshot: its arrays, and its plain data without times."""
    from tlx.training.snapshot import pack
    from tlx.tree import fingerprint

    arrays, plain = pack(snapshot)
    return hashlib.sha256(json.dumps([fingerprint(arrays), _timeless(plain)]).encode()).hexdigest()


def _place(snapshot: Any) -> str:
    """Say at which step a snapshot is."""
    return f"{snapshot.phase}/{snapshot.epoch}/{snapshot.step}/{snapshot.batch}"


def _checkpoints(out: Path) -> list[Any]:
    """Read the checkpoints that a run keeps, the older first; a kill may leave a third one, half removed."""
    from tlx.training.checkpoint import KEPT, Checkpoints

    opened = Checkpoints(out / "checkpoints")
    try:
        folders = sorted((entry for entry in opened.directory.iterdir() if entry.name.isdecimal()), key=_number)
        return [opened._read(folder) for folder in folders[-KEPT:]]
    finally:
        opened.close()


def _number(folder: Path) -> int:
    return int(folder.name)


def _latest(checkpoints: Any, out: Path) -> Any:
    opened = checkpoints(out / "checkpoints")
    try:
        return opened.latest()
    finally:
        opened.close()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        left_out = ("seconds", "compiled", "run_dir")
        return {key: _timeless(item) for key, item in value.items() if key not in left_out}
    return [_timeless(item) for item in value] if isinstance(value, list | tuple) else value


def command(
    out: Path, run: Sequence[str], *, resume: bool, before: tuple[str, ...] = (), child: tuple[str, ...] = ()
) -> list[str]:
    """Return the command of a run with options or its resume, behind `before`, or with `child` through this file."""
    program = [sys.executable, __file__, "child", *child] if child else [sys.executable, "-m", "tlx"]
    cache = ["--cache", run[run.index("--cache") + 1]] if "--cache" in run else []  # of the machine: no run keeps it
    own = ["--resume", *cache] if resume else run
    return [*before, *program, "finetune", *own, *OFTEN, "--out", str(out)]


def begun(out: Path) -> bool:
    """Tell whether there is a run to go on with: one that was killed in its first moments begins anew."""
    return (out / "run.json").exists()


def start(given: list[str]) -> "subprocess.Popen[str]":
    """Start a command in a group of its own, in small pages, for it starts twice to get large ones."""
    environment = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        given, stdout=subprocess.DEVNULL, stderr=pipe, text=True, env=environment, start_new_session=True
    )


def finish(given: list[str], *codes: int) -> int:
    """Run a command to its end and return its exit code; stop here if that is none of `codes`."""
    with start(given) as process:
        _, told = process.communicate(timeout=600)
    if process.returncode not in codes:
        raise SystemExit(f"{' '.join(given)}: exit code {process.returncode}: {told[-2000:]}")
    return process.returncode


@dataclass
class Faults:
    """A reference run, and what is done to others beside it."""

    folder: Path
    random: random.Random
    run: Sequence[str]
    expected: str = ""
    trajectory: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    training: float = 0.0

    def reference(self) -> None:
        for name in ("first", "reference"):  # the first compiles, for all
            began = time.monotonic()
            finish(self.command(self.place(name), resume=False), 0)
            self.seconds = time.monotonic() - began
        record = self.folder / "trajectory.json"
        finish(self.command(self.place("recorded"), resume=False, child=("--record", str(record))), 0)
        self.trajectory = json.loads(record.read_text())
        self.expected = self.digest(self.place("reference"))
        result = json.loads((self.place("reference") / "result.json").read_text())
        self.training = sum(phase["seconds"] for phase in result["phases"])
        if not self.expected == self.digest(self.place("first")) == self.digest(self.place("recorded")):
            raise SystemExit("untouched runs differ: nothing can be said")

    def command(self, out: Path, **how: Any) -> list[str]:
        return command(out, self.run, **how)

    def digest(self, out: Path) -> str:
        return digest(out, self.trajectory)

    def place(self, name: str) -> Path:
        """Return where a run goes; all have the same name, which is part of what they export."""
        return self.folder / name / "run"

    def fresh(self, name: str) -> Path:
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return self.place(name)

    def kills(self, count: int) -> dict[str, Any]:
        """Kill runs, ten times each if they last: first at a random system call, then mostly at random moments."""
        found: Counter[str] = Counter()
        strace = shutil.which("strace")
        while found["kills"] < count:
            out, here = self.fresh("killed"), 0
            found["runs"] += 1
            while here < KILLS_A_RUN and found["kills"] < count and not (out / "result.json").exists():
                traced = strace is not None and (not here or self.random.random() < 0.25)
                killed = self._kill_at_call(out, 8 if here else 4) if traced else self._kill_at_moment(out)
                found["kills"] += killed
                found["at system calls"] += killed and traced
                here += killed
            finish(self.command(out, resume=begun(out)), 0)
            found["differing digests"] += self.digest(out) != self.expected
        return dict(found) | {"strace": strace is not None}

    def _kill_at_moment(self, out: Path) -> bool:
        with start(self.command(out, resume=begun(out))) as process:
            self._wait(process, out)
            return _killed(process)

    def _wait(self, process: "subprocess.Popen[str]", out: Path) -> None:
        """Wait for a random moment: a quarter of them anywhere from the start on, others soon after training began."""
        longest = self.seconds
        if self.random.random() < 0.75:
            events = out / "tensorboard" / "transfer"
            before = set(events.iterdir()) if events.exists() else set()
            while process.poll() is None and (set(events.iterdir()) if events.exists() else set()) <= before:
                time.sleep(0.01)
            longest = self.training / 3
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self.random.uniform(0, longest))

    def _kill_at_call(self, out: Path, most: int) -> bool:
        """Kill a run at a call among the first 2 ** `most` of its kind; return whether there were so many."""
        call, number = self.random.choice(CALLS), int(2 ** self.random.uniform(0, most))
        traced = ("strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}")
        traced += ("-e", f"inject={call}:signal=SIGKILL:when={number}")
        with start(self.command(out, resume=begun(out), before=traced)) as process:
            process.communicate(timeout=600)
            return process.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)

    def terms(self, count: int) -> dict[str, Any]:
        """Ask runs to stop at random moments, again and again until they have ended."""
        found: Counter[str] = Counter()
        while found["saved"] < count:
            out = self.fresh("stopped")
            found["runs"] += 1
            while not (out / "result.json").exists() and found["saved"] < count:
                steps = _steps(out)
                with start(self.command(out, resume=begun(out))) as process:
                    while process.poll() is None and not _listens(process):  # Python itself is starting
                        time.sleep(0.01)
                    self._wait(process, out)
                    process.send_signal(signal.SIGTERM)
                    process.communicate(timeout=600)
                found[f"exit code {process.returncode}"] += 1
                found["saved"] += process.returncode == 75
                found["went back"] += process.returncode == 75 and _steps(out) < steps
            finish(self.command(out, resume=begun(out)), 0)
            found["differing digests"] += self.digest(out) != self.expected
        return dict(found)

    def levels(self, count: int) -> dict[str, Any]:
        """Run on disks that are full at different levels, then with room."""
        if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode:
            return {"absent": "this system lets no user mount a small disk"}
        size = sum(file.stat().st_blocks * 512 for file in self.place("reference").rglob("*"))
        found: Counter[str] = Counter()
        for level in range(count):
            disk = self.folder / "disk"
            disk.mkdir(exist_ok=True)
            room = round(size * (level + 1) / (count + 1)) // 1024
            inside = f'mount -t tmpfs -o size={room}k tmpfs "$1" && exec "$2" "$3" disk "$1" "$4"'
            mine = self.folder / "disk.json"
            mine.write_text(json.dumps([self.trajectory, list(self.run)]))
            given = ["unshare", "-Urm", "sh", "-c", inside, "sh", str(disk), sys.executable, __file__, str(mine)]
            done = subprocess.run(given, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{room} kB: {done.stdout[-1000:]}{done.stderr[-2000:]}")
            *_, answer = done.stdout.splitlines()
            code, kept, reached = json.loads(answer)
            found[f"exit code {code}"] += 1
            found["last good kept"] += kept
            found["differing digests"] += reached != self.expected
        return dict(found)

    def flips(self, count: int) -> dict[str, Any]:
        """Flip single bits of the last checkpoint: the one before it must be taken, and lead to the same end."""
        from tlx.errors import CheckpointError
        from tlx.training.checkpoint import Checkpoints

        out = self.fresh("flipped")
        shutil.copytree(self.place("reference"), out)
        described = (out / "run.json").read_text()
        (out / "run.json").write_text(described.replace(str(self.place("reference")), str(out)))
        before, last = sorted((out / "checkpoints").iterdir(), key=_number)
        older = summed(_checkpoints(out)[0])
        found: Counter[str] = Counter({"flips": count, "loaded in silence": 0, "older not taken": 0})
        for number in range(count):
            both = number % 8 == 7
            with contextlib.ExitStack() as stack:
                for folder in (last, before) if both else (last,):
                    stack.enter_context(self._flipped(folder, evenly=number % 2 == 1))
                try:
                    taken = summed(_latest(Checkpoints, out))
                except CheckpointError:
                    found["none taken, both flipped"] += both
                    found["older not taken"] += not both
                    continue
                found["older taken"] += taken == older and not both
                found["loaded in silence"] += taken != older or both
        with self._flipped(last, evenly=True):
            for place in (out / "result.json", out / "evaluation.npz"):
                place.unlink()
            shutil.rmtree(out / "export")
            finish(self.command(out, resume=True), 0)
        found["differing digests"] = self.digest(out) != self.expected
        return dict(found)

    @contextlib.contextmanager
    def _flipped(self, folder: Path, *, evenly: bool) -> Iterator[None]:
        """Within this context a bit of a checkpoint is flipped, in a file drawn evenly or by size: arrays are large."""
        files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.stat().st_size]
        sizes = [file.stat().st_size for file in files]
        (file,) = self.random.choices(files, None if evenly else sizes)
        sound = file.read_bytes()
        spoilt = bytearray(sound)
        spoilt[self.random.randrange(len(spoilt))] ^= 1 << self.random.randrange(8)
        file.write_bytes(spoilt)
        yield
        if file.exists():  # else a later checkpoint took the damaged one's place
            file.write_bytes(sound)

    def variants(self) -> dict[str, Any]:
        """Stop a run, resume it without one thing of its checkpoint, and see that the digest tells."""
        found = {}
        for name in ("nothing", *VARIANTS):
            out = self.fresh("broken")
            finish(self.command(out, resume=False, child=("--stop-at", str(STOP_AT))), 75)
            finish(self.command(out, resume=True, child=("--leave-out", name)), 0)
            found[name] = "same" if self.digest(out) == self.expected else "differs"
        return found


def _killed(process: "subprocess.Popen[str]") -> bool:
    alive = process.poll() is None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return alive


def _listens(process: "subprocess.Popen[str]") -> bool:
    """Tell whether a process has a handler for SIGTERM."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


def _steps(out: Path) -> int:
    """Count the steps of a run's last checkpoint, over all phases."""
    from tlx.training.checkpoint import Checkpoints

    last = _latest(Checkpoints, out) if (out / "checkpoints").exists() else None
    return 0 if last is None else sum(record["steps"] for record in last.records) + last.step


def _child(given: list[str]) -> None:
    """Be the command, stopped at a question or resuming without something."""
    import tlx.training.checkpoint
    from tlx.cli.main import main
    from tlx.stop import StopOnSignals

    option, value, *rest = given
    if option == "--stop-at":
        questions = iter(range(1, 1 << 30))
        StopOnSignals.__enter__ = lambda self: lambda: next(questions) == int(value)  # type: ignore[method-assign]
        StopOnSignals.__exit__ = lambda *_: None  # type: ignore[method-assign]
    elif option == "--record":
        _record(Path(value))
    elif value != "nothing":
        unpack = tlx.training.checkpoint.unpack
        tlx.training.checkpoint.unpack = lambda *packed: VARIANTS[value](unpack(*packed))
    main(rest)


def _record(file: Path) -> None:
    """Save after every step, and note what is saved."""
    from tlx.training.checkpoint import Checkpoints

    save, seen = Checkpoints.save, dict[str, str]()

    def noted(self: Any, snapshot: Any, donated: Any = None) -> None:
        seen[_place(snapshot)] = summed(snapshot)
        file.write_text(json.dumps(seen))
        save(self, snapshot, donated)

    Checkpoints.due = lambda self, steps: True  # type: ignore[method-assign]
    Checkpoints.save = noted  # type: ignore[method-assign]


def _disk(disk: Path, trajectory: Mapping[str, str], run: Sequence[str]) -> None:
    """On a small disk of its own: run till it is full, see what is left, make room and go on."""
    from tlx.training.checkpoint import Checkpoints

    out = disk / "full" / "run"
    code = finish(command(out, run, resume=False), 0, 6)
    entries = list((out / "checkpoints").iterdir()) if (out / "checkpoints").exists() else []
    whole = [entry for entry in entries if entry.name.isdecimal()]
    kept = not whole or _latest(Checkpoints, out) is not None
    subprocess.run(["mount", "-o", "remount,size=1g", str(disk)], check=True)
    finish(command(out, run, resume=begun(out)), 0)
    print(json.dumps([code, kept, digest(out, trajectory)]))


@dataclass(frozen=True)
class Options:
    """Kill, stop, starve and damage a real run."""

    workload: tuple[Literal["images", "texts", "pairs", "views", "words"], ...] = ("images",)
    kills: int = 100
    terms: int = 50
    levels: int = 20
    flips: int = 300
    variants: bool = True
    seed: int = 0
    json: bool = False
    """Print one JSON object."""


def main(options: Options) -> None:
    logging.getLogger("tlx").setLevel(logging.ERROR)  # each damaged checkpoint would be told of
    found: dict[str, Any] = {"options": asdict(options)}
    faulty = []
    for workload in options.workload:
        found[workload], faults = _round(workload, options)
        faulty += faults
    if options.json:
        print(json.dumps(found, indent=2))
    if faulty:
        raise SystemExit(f"not as it should be: {', '.join(faulty)}")


def _round(workload: str, options: Options) -> tuple[dict[str, Any], list[str]]:
    """Do everything to one workload; return what came of it, and what is not as it should be."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        faults = Faults(folder, random.Random(options.seed), [*WORKLOADS[workload](folder), *RUN])
        faults.reference()
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "variants": faults.variants,
            "flips": lambda: faults.flips(options.flips),
            "kills": lambda: faults.kills(options.kills),
            "terms": lambda: faults.terms(options.terms),
            "levels": lambda: faults.levels(options.levels),
        }
        for name, part in parts.items():
            if getattr(options, name):
                found[name] = part()
                place = sys.stderr if options.json else sys.stdout
                print(f"{workload}: {name}: {found[name]}", file=place, flush=True)
    return found, [f"{workload}: {name}" for name in found if _is_faulty(name, found[name])]


def _is_faulty(name: str, found: dict[str, Any]) -> bool:
    if name == "variants":
        return found != {"nothing": "same", **dict.fromkeys(VARIANTS, "differs")}
    codes = {key for key in found if key.startswith("exit code")} - {"exit code 0", "exit code 6", "exit code 75"}
    lost = (
        name == "levels"
        and "absent" not in found
        and found["last good kept"] < sum(number for key, number in found.items() if key.startswith("exit code"))
    )
    return bool(
        codes
        or lost
        or any(found.get(key) for key in ("differing digests", "went back", "loaded in silence", "older not taken"))
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        _child(sys.argv[2:])
    elif sys.argv[1:2] == ["disk"]:
        _disk(Path(sys.argv[2]), *json.loads(Path(sys.argv[3]).read_text()))
    else:
        import tyro

        main(tyro.cli(Options, args=sys.argv[1:]))
