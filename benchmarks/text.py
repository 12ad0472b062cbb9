"""Time a text model beside transformers on PyTorch: features, steps, an epoch of SST-2, a head on a frozen base.

    python benchmarks/text.py --base FOLDER [--cases forward step epoch head] [--quick] [--json]

FOLDER holds all-MiniLM-L6-v2 or another BERT, as model hubs lay it out; by default the variable TLX_MINILM names it.
`forward` and `step` also run BERT-base with random weights. Each program is a process (`benchmarks/text_programs.py`)
whose memory comes in large pages, as the command `tlx` starts itself, and all are asked in turns; figures are medians,
`ratio` is PyTorch's time over tlx's.

- `forward`: the features of 16 texts of 128 pieces; `step`: a training step on them, dropout 0.1, AdamW.
- `epoch`: an epoch of SST-2, batches of 32, all parameters. PyTorch pads each batch to its longest text, as
  `DataCollatorWithPadding` does; tlx pads to a few lengths and puts texts of one length together. Its time is that of a
  whole `tlx.fit` of one epoch; `first` is what a fit of two epochs before took, which compiles.
- `head`: ten epochs of a head on the frozen base. PyTorch's are ten times one epoch; tlx's are a whole `tlx.fit`, which
  computes the base once.

`lengths`, without a clock: to which lengths all of SST-2 is padded (`tlx.text.best_lengths`), and how many positions
are computed for each piece, beside what padding to the longest text of shuffled batches computes. What was measured
stands in benchmarks/README.md.
"""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import text_programs
import tyro
from turns import in_turns, median, versions

CASES = ("forward", "step", "epoch", "head", "lengths")


@dataclass(frozen=True)
class Options:
    """Time a text model beside transformers on PyTorch."""

    base: str = os.environ.get("TLX_MINILM", "")
    """The folder of a BERT."""
    cases: tuple[str, ...] = CASES
    rounds: int = 5
    """How often each program is asked."""
    sentences: int = 1500
    """Of SST-2, for an epoch."""
    random: bool = True
    """Whether BERT-base with random weights is measured, too."""
    quick: bool = False
    """Two rounds, of 500 sentences, of the folder's model alone."""
    json: bool = False
    """Print one JSON object."""


def compare(model: str, what: str, rounds: int, count: int) -> dict[str, Any]:
    """Ask tlx and PyTorch in turns, and return their figures."""
    large = ["env", "GLIBC_TUNABLES=glibc.malloc.hugetlb=1", sys.executable, text_programs.__file__]
    programs = {name: [*large, name, model, what, str(count)] for name in ("tlx", "torch")}
    answers, absent = in_turns(programs, rounds)
    if absent:
        return {"absent": absent}
    ours, theirs = answers["tlx"], answers["torch"]
    if what in ("forward", "step"):
        seconds = {"tlx": median(ours), "torch": median(theirs)}
        return {"seconds": seconds, "ratio": seconds["torch"] / seconds["tlx"]}
    times = text_programs.EPOCHS if what == "head" else 1
    each = median([answer["seconds"] for answer in theirs])
    seconds = {"tlx": median([answer["seconds"] for answer in ours]), "torch": times * each}
    first, last = ours[0]["first"], ours[-1]
    return {
        "seconds": seconds,
        "ratio": seconds["torch"] / seconds["tlx"],
        "epochs": times,
        "first_fit_of_two_epochs": first["seconds"],
        "compiled_by_epoch": first["compiled"],
        "compiled_later": last["compiled"],
        "last_loss": {"tlx": last["loss"], "torch": theirs[-1]["loss"]},
    }


def lengths(base: str) -> dict[str, Any]:
    """Say to what lengths SST-2 is padded, and what that computes."""
    import tlx
    from tlx.text.lengths import best_lengths, padded

    texts, _ = text_programs.sentences(10_000)
    pieces = tlx.load(base).preprocess.encode(texts).lengths
    chosen = best_lengths(pieces)
    order = np.random.default_rng(0).permutation(pieces)
    size = text_programs.BATCH
    longest = sum(len(order[at : at + size]) * int(order[at : at + size].max()) for at in range(0, len(order), size))
    return {
        "texts": len(pieces),
        "pieces": int(pieces.sum()),
        "lengths": list(chosen),
        "positions_a_piece": float(padded(pieces, chosen).sum() / pieces.sum()),
        "padded_to_the_longest_of_a_batch": float(longest / pieces.sum()),
        "padded_to_the_longest_of_all": float(len(pieces) * pieces.max() / pieces.sum()),
    }


def say(name: str, found: dict[str, Any]) -> None:
    if "ratio" not in found:
        print(f"{name}: {found}", flush=True)
        return
    seconds = ", ".join(f"{program} {each:.3f} s" for program, each in found["seconds"].items())
    more = ""
    if "epochs" in found:
        more = (
            f"; the first fit, of two epochs, took tlx {found['first_fit_of_two_epochs']:.1f} s and compiled "
            f"{found['compiled_by_epoch']} programs; later ones {found['compiled_later']}"
        )
    print(f"{name}: {seconds}: {found['ratio']:.2f}{more}", flush=True)


def main(options: Options) -> None:
    if not Path(options.base, "config.json").is_file():
        raise SystemExit(f"{options.base or 'no base'}: name a folder that holds a BERT: --base FOLDER, or TLX_MINILM")
    rounds, count = (2, 500) if options.quick else (options.rounds, options.sentences)
    figures: dict[str, Any] = {}
    for what in options.cases:
        if what == "lengths":
            figures[what] = lengths(options.base)
        else:
            figures[what] = compare(
                options.base, what, rounds if what in ("forward", "step") else min(rounds, 3), count
            )
        if what in ("forward", "step") and options.random and not options.quick:
            figures[f"{what}, BERT-base"] = compare("random", what, rounds, count)
        if not options.json:
            for name in (name for name in figures if name.startswith(what)):
                say(name, figures[name])
    figures["versions"] = versions("tlx-jax", "jax", "torch", "transformers")
    print(json.dumps(figures, indent=2) if options.json else figures["versions"])


if __name__ == "__main__":
    main(tyro.cli(Options, args=sys.argv[1:]))
