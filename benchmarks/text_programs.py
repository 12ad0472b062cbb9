"""The text models that are measured, in tlx and in transformers on PyTorch: a BERT with a linear head of two classes.

    python benchmarks/text_programs.py PROGRAM MODEL WHAT [SENTENCES]

is one process of `benchmarks/text.py`, asked over standard input (`turns.serve`) to do what WHAT says, and answers with
its seconds. MODEL is a folder, as model hubs lay them out, or `random`: BERT-base with weights drawn at random. WHAT is

- `forward`: the features of 16 texts of 128 pieces.
- `step`: a whole training step on as many: dropout at 0.1, AdamW on all parameters.
- `epoch`: an epoch of SST-2's first SENTENCES sentences, shuffled, in batches of 32, all parameters trained.
- `head`: the same with the base frozen: ten epochs of a fit of tlx's, one of PyTorch's.

PyTorch has its best: attention in one function ("sdpa"), inference mode, fused AdamW, and a frozen base that needs no
gradient. A frozen base runs without dropout, in both. Both tokenise the sentences before any clock runs.
"""

import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from turns import serve

DATA = Path(os.environ.get("TLX_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SIZE, LENGTH, BATCH, RATE, DROPOUT, EPOCHS = 16, 128, 32, 2e-5, 0.1, 10
VOCABULARY = 30522
Timed = Callable[[], Any]


def pieces() -> tuple[np.ndarray, np.ndarray]:
    """Return rows of pieces (16, 128) int32 without padding, and a class of each."""
    random = np.random.default_rng(0)
    return random.integers(1000, VOCABULARY, (SIZE, LENGTH), dtype=np.int32), random.integers(0, 2, SIZE, np.int32)


def sentences(count: int) -> tuple[list[str], list[int]]:
    """Return SST-2's first sentences, and whether each is positive."""
    lines = (DATA / "text" / "sst2_train.tsv").read_text(encoding="utf-8").splitlines()[:count]
    labels, texts = zip(*(line.split("\t") for line in lines), strict=True)
    return list(texts), list(map(int, labels))


def timed(run: Callable[[], Any], warm: int) -> Timed:
    """Return what runs and gives its seconds, after some runs that do not count."""
    for _ in range(warm):
        run()

    def once() -> float:
        run()  # the processes that waited for their turn have cold caches
        started = time.perf_counter()
        run()
        return time.perf_counter() - started

    return once


# tlx


def tlx_model(model: str) -> tuple[Any, Any, Any]:
    """Return a model of tlx's with a fresh head, its variables, and its input spec."""
    from networks import tlx_variables

    import tlx
    from tlx.models import BertConfig, ModelConfig, build_model

    if model == "random":
        config = ModelConfig("bert", 2, (512,), dropout=DROPOUT, pool="average", settings=BertConfig())
        return build_model(config), tlx_variables(config), None
    start = tlx.load(model).with_head(("-", "+"), dropout=DROPOUT, pool="average")
    return start.model, start.variables, start.preprocess


def adamw() -> Any:
    from tlx.optim import AdamW, Constant, Group

    return Group(Constant(RATE), AdamW(), weight_decay=0.01)


def tlx_batch() -> tuple[dict[str, Any], Any]:
    ids, targets = pieces()
    return {"ids": ids, "segments": np.zeros_like(ids), "mask": np.ones(ids.shape, bool)}, targets


def tlx_forward(model: str) -> Timed:
    import jax

    from tlx.devices import forward_options, jit

    network, variables, _ = tlx_model(model)
    inputs, _ = jax.device_put(tlx_batch())
    forward = jit(functools.partial(network.apply, method="features"), forward_options)
    return timed(lambda: jax.block_until_ready(forward(variables, inputs)), 2)


def tlx_step(model: str) -> Timed:
    import jax

    from tlx import recipes
    from tlx.objectives import Classification
    from tlx.optim import optimizer
    from tlx.training import StepOptions
    from tlx.training.state import Totals, TrainState
    from tlx.training.step import make_train_step
    from tlx.tree import label_tree, partition, trainable_mask

    network, variables, _ = tlx_model(model)
    phase = recipes.further(network.base.stage_names, group=adamw())[0]
    labels = label_tree(variables["params"], phase.rules)
    mask = trainable_mask(labels)
    trainable, frozen = partition(variables["params"], mask)
    tx = optimizer(partition(labels, mask)[0], phase.groups, 1000)
    step = make_train_step(network, labels, tx, Classification(), StepOptions())
    inputs, targets = jax.device_put(tlx_batch())
    zero, key = jax.numpy.zeros((), "int32"), jax.random.key(0)
    state = TrainState(zero, trainable, {}, tx.init(trainable), key, Totals.zero())

    def take() -> None:
        nonlocal state
        state = jax.block_until_ready(step(state, frozen, {"input": inputs, "target": targets}))

    return timed(take, 2)


def tlx_fit(model: str, what: str, count: int) -> Timed:
    """Return what fits, for an epoch of all parameters or ten of a head, and says how long that and a phase took.

    The first fit, of two epochs, compiles. Its own figures are of the compilation.
    """
    import tlx
    from tlx.data.tokenized import tokenized

    network, variables, spec = tlx_model(model)
    texts, labels = sentences(count)
    source = tokenized(tlx.data.ColumnSource({"input": texts, "target": labels}, ("-", "+")), spec)
    options = tlx.TrainOptions(batch_size=BATCH, preprocess=spec)
    stages = [name for name in network.base.stage_names if name in variables["params"]["base"]]

    def fit(epochs: int) -> dict[str, Any]:
        make = tlx.recipes.further if what == "epoch" else tlx.recipes.probe
        group = {"group": adamw()} if what == "epoch" else {"head": adamw()}
        started = time.perf_counter()
        done = tlx.fit(network, variables, make(stages, epochs=epochs, patience=None, **group), source, options)
        seconds = time.perf_counter() - started
        inside = [record["seconds"] for record in done.history]
        compiled = [record["compiled"] for record in done.history]
        return {"seconds": seconds, "epochs": inside, "compiled": compiled, "loss": done.history[-1]["loss"]}

    first = fit(2)
    return lambda: {**fit(1 if what == "epoch" else EPOCHS), "first": first}


# transformers on PyTorch


def torch_model(model: str, what: str) -> tuple[Any, Any]:
    """Return a base of transformers' and a linear head."""
    from tlx.convert.reference import import_torchvision

    import_torchvision()
    import torch
    from transformers import AutoModel, BertConfig, BertModel

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if model == "random":
        base = BertModel(BertConfig(attn_implementation="sdpa"), add_pooling_layer=False)
    else:
        base = AutoModel.from_pretrained(model, attn_implementation="sdpa", add_pooling_layer=False)
    base.train(what in ("step", "epoch"))
    base.requires_grad_(what in ("step", "epoch"))
    head = torch.nn.Sequential(torch.nn.Dropout(DROPOUT), torch.nn.Linear(base.config.hidden_size, 2))
    return base, head


def torch_logits(base: Any, head: Any, ids: Any, mask: Any) -> Any:
    hidden = base(input_ids=ids, attention_mask=mask).last_hidden_state
    weights = mask[..., None].to(hidden.dtype)
    return head((hidden * weights).sum(1) / weights.sum(1))


def torch_adamw(*modules: Any) -> Any:
    import torch

    trained = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trained if parameter.ndim > 1]
    others = [parameter for parameter in trained if parameter.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, RATE, fused=True)


def torch_forward(model: str) -> Timed:
    base, _ = torch_model(model, "forward")
    import torch

    ids = torch.from_numpy(pieces()[0]).long()
    mask = torch.ones_like(ids)

    def run() -> None:
        with torch.inference_mode():
            base(input_ids=ids, attention_mask=mask)

    return timed(run, 2)


def torch_step(model: str) -> Timed:
    base, head = torch_model(model, "step")
    import torch

    ids, targets = (torch.from_numpy(each).long() for each in pieces())
    mask, adam = torch.ones_like(ids), torch_adamw(base, head)

    def run() -> None:
        adam.zero_grad()
        torch.nn.functional.cross_entropy(torch_logits(base, head, ids, mask), targets).backward()
        adam.step()

    return timed(run, 2)


def torch_batches(rows: list[list[int]], targets: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Go over rows of pieces once, shuffled, each batch padded to the longest row in it."""
    import torch

    for chosen in torch.randperm(len(rows)).split(BATCH):
        held = [rows[number] for number in chosen]
        ids = torch.zeros((len(held), max(map(len, held))), dtype=torch.long)
        for row, each in zip(ids, held, strict=True):
            row[: len(each)] = torch.tensor(each)
        yield ids, (ids != 0).long(), targets[chosen]


def torch_epoch(model: str, what: str, count: int) -> Timed:
    base, head = torch_model(model, what)
    import torch
    from transformers import AutoTokenizer

    texts, labels = sentences(count)
    rows, targets = AutoTokenizer.from_pretrained(model)(texts)["input_ids"], torch.tensor(labels)
    adam = torch_adamw(base, head)

    def epoch() -> dict[str, float]:
        started, total = time.perf_counter(), 0.0
        for ids, mask, answers in torch_batches(rows, targets):
            adam.zero_grad()
            loss = torch.nn.functional.cross_entropy(torch_logits(base, head, ids, mask), answers)
            loss.backward()
            adam.step()
            total += loss.item() * len(answers)
        return {"seconds": time.perf_counter() - started, "loss": total / len(rows)}

    return epoch


def maker(program: str, model: str, what: str, count: int) -> Callable[[], Timed]:
    """Return what prepares a program for its turns."""
    if what in ("forward", "step"):
        makes = {"tlx": (tlx_forward, tlx_step), "torch": (torch_forward, torch_step)}[program]
        return functools.partial(makes[what == "step"], model)
    return functools.partial(tlx_fit if program == "tlx" else torch_epoch, model, what, count)


if __name__ == "__main__":
    program, model, what, *rest = sys.argv[1:]
    serve(maker(program, model, what, int(rest[0]) if rest else 0))
