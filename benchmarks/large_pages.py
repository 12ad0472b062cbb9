"""Time tlx's full training step with memory in large pages, as the command starts itself, and in small ones.

    python benchmarks/large_pages.py [--networks mobilenet_v2 resnet50] [--quick] [--json]

The same step as in `benchmarks/train_step.py`, in two processes that are asked in turns; `small_over_large` is the
ratio of their medians. On a Linux that gives large pages to all who allocate, or to nobody, there is no difference. On
one that has long been running, others may have cut up what is free.
"""

import json
import sys

import networks
import tyro
from turns import in_turns, median, versions


def main(options: networks.Options) -> None:
    figures = {}
    for name in options.networks:
        network, size, side = networks.SIZES[name]
        step = [sys.executable, networks.__file__, "tlx", network, "train", str(size), str(side)]
        programs = {
            pages: ["env", f"GLIBC_TUNABLES=glibc.malloc.hugetlb={value}", *step]
            for pages, value in {"small": 0, "large": 1}.items()
        }
        answers, _ = in_turns(programs, 1 if options.quick else options.rounds)
        seconds = {pages: median(times) for pages, times in answers.items()}
        figures[name] = {
            "seconds": {pages: round(each, 3) for pages, each in seconds.items()},
            "small_over_large": round(seconds["small"] / seconds["large"], 3),
        }
        if not options.json:
            print(f"{name}, {size} x {side} x {side}: {figures[name]}", flush=True)
    if options.json:
        print(json.dumps({**figures, "versions": versions("tlx-jax", "jax")}, indent=2))


if __name__ == "__main__":
    main(tyro.cli(networks.Options, args=sys.argv[1:]))
