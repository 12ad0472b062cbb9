"""What frozen stages make of images is computed once: the same training, from memory or disk, after any accident."""

import json
import threading
from dataclasses import replace

import filelock
import flax.linen as nn
import jax
import numpy as np
import pytest
from cases import OF_IMAGES, assert_same_bits
from marks import slow_but
from toys import PLAIN, RANDOM, SPEC, Recorder, Stopped, timeless, toy_source
from toys import fit_sources as fit

import tlx.training.cache
from tlx.data import ArraySource
from tlx.errors import ConfigError
from tlx.images import Augment, Preprocess
from tlx.models import Base, Classifier, Head, Stage
from tlx.models.small import Conv
from tlx.optim import Adam, Constant, Group, Phase
from tlx.training import ActivationCache, Mixup, store
from tlx.training.activations import frozen_until
from tlx.tree import map_with_path

TRAIN, VALIDATION = toy_source(14), toy_source(8, seed=1)  # 14: the last batch of 4 is partial
FAST = Group(Constant(0.02), Adam())
HEAD = Phase("head", 3, (("base", "frozen"), ("head", "head")), {"head": FAST})
BLOCK = Phase("block", 2, (("base/stem", "frozen"), ("**", "all")), {"all": FAST})
ALL = Phase("all", 2, (("**", "all"),), {"all": FAST})
COLLATED = jax.ShapeDtypeStruct((1, 6, 6, 1), np.uint8)


class Counted:
    """A source that counts how often each example was asked for."""

    def __init__(self, source):
        self.source, self.asked = source, np.zeros(len(source), int)
        self.classes, self.targets, self.digests = source.classes, source.targets, source.digests

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        self.asked[index] += 1
        return self.source[index]


def train(recipe=(HEAD,), case=RANDOM, cache=None, **options):
    """Fit, and return the fit and what was logged of each epoch."""
    log = Recorder()
    options = {
        "train": TRAIN,
        "validation": VALIDATION,
        "preprocess": SPEC,
        "batch_size": 4,
        "callbacks": [log],
        **options,
    }
    variables = options.pop("variables", None) or case.variables()
    return fit(case.model, variables, recipe, cache=cache, **options), timeless(log.records)


def same(one, other):
    assert one[1] == other[1]
    assert_same_bits(one[0].variables, other[0].variables)


def alike(one, other):
    """Compare two fits to the rounding of float32: XLA fuses other operations where the base runs in the step."""
    for mine, theirs in zip(one[1], other[1], strict=True):
        assert mine.keys() == theirs.keys()
        measured = [key for key in mine if isinstance(mine[key], float)]
        assert [mine[key] for key in measured] == pytest.approx([theirs[key] for key in measured], rel=1e-4)
    for mine, theirs in zip(*(jax.tree.leaves(each[0].variables) for each in (one, other)), strict=True):
        np.testing.assert_allclose(
            mine, theirs, rtol=1e-2, atol=1e-3
        )  # Adam's first steps are as long for any gradient


OFF = ActivationCache("off")


@pytest.mark.slow
@pytest.mark.parametrize("case", [PLAIN, RANDOM], ids=str)
def test_training_is_the_same_in_memory_and_on_disk_and_but_for_rounding_without(case, tmp_path):
    recipe = (HEAD, BLOCK, ALL, HEAD)
    plain, memory = train(recipe, case, OFF), train(recipe, case, ActivationCache("memory"))
    disk = train(recipe, case, ActivationCache("disk", folder=str(tmp_path)))
    alike(plain, memory)
    alike(memory, disk)  # from the disk the head trains step by step, in memory in one loop
    assert [phase.activations for phase in plain[0].phases] == ["off"] * 4
    for done, where in ((memory, "in memory"), (disk, "on disk")):
        assert [phase.activations for phase in done[0].phases] == [
            f"440 B after block, {where}",
            f"528 B after stem, {where}",
            "no stage is frozen from the first one on",
            f"440 B after block, {where}",
        ]


@pytest.mark.parametrize("case", slow_but("mlp", of=OF_IMAGES), ids=str)
def test_every_model_trains_alike_with_its_head_alone(case):
    height, width, channels = case.shape
    draw = np.random.default_rng(0)
    classes = jax.eval_shape(case.model.apply, case.variables(), case.batch()["input"]).shape[-1]
    shape = (10, height, width, channels)
    source = ArraySource(draw.integers(0, 256, shape).astype(np.uint8), np.arange(10) % classes)
    options = {"train": source, "validation": source, "preprocess": Preprocess(height, width, channels)}
    phase = replace(HEAD, rules=(("base", "frozen"), ("**", "head")))
    plain, kept = train((phase,), case, OFF, **options), train((phase,), case, ActivationCache("memory"), **options)
    for one, other in zip(plain[1], kept[1], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["val_loss"] == pytest.approx(other["val_loss"], rel=1e-4)
    assert kept[0].phases[0].frozen_sha256_after == plain[0].phases[0].frozen_sha256_after


@pytest.mark.slow
def test_images_are_asked_for_once_for_all_phases():
    examples, held_out = Counted(TRAIN), Counted(VALIDATION)
    train((HEAD, BLOCK), cache=ActivationCache("memory"), train=examples, validation=held_out)
    assert examples.asked[0] == 2  # once to see what a batch is
    assert set(examples.asked[1:]) == set(held_out.asked) == {1}


@pytest.mark.slow
def test_a_higher_stage_is_computed_from_a_lower_one_that_is_kept():
    again = replace(HEAD, name="again")
    examples = Counted(TRAIN)
    frozen_stem = replace(BLOCK, rules=(("base/stem", "frozen"), ("**", "all")))
    plain = train((frozen_stem, again), cache=OFF)
    kept = train((frozen_stem, again), cache=ActivationCache("memory"), train=examples)
    alike(plain, kept)
    assert examples.asked[0] == 2  # once to see what a batch is
    assert set(examples.asked[1:]) == {1}


@pytest.mark.slow
def test_what_the_last_stage_makes_is_pooled_before_it_is_kept():
    model = Classifier(Base((Stage("conv", Conv(8, (3, 3))),)), Head(3, pool="average"))
    variables = model.init(jax.random.key(0), np.zeros((1, 6, 6, 1), np.float32))
    assert tlx.training.cache.shapes_after(model, variables, SPEC, COLLATED, "conv").shape == (8,)
    flat = replace(HEAD, epochs=2)
    options = {"train": TRAIN, "validation": VALIDATION, "preprocess": SPEC, "batch_size": 4}
    done = fit(model, variables, (flat,), cache=ActivationCache("memory"), **options)
    assert done.phases[0].activations == "704 B after conv, in memory"  # 22 images, 8 numbers of 4 bytes


# When there is none


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reason", "options"),
    [
        ("off", {"cache": OFF}),
        ("no stage is frozen from the first one on", {"recipe": (ALL,)}),
        ("one epoch only", {"recipe": (replace(HEAD, epochs=1),)}),
        ("examples are mixed", {"mix": Mixup(mixup=0.2)}),
        ("augmentation varies the examples in every epoch: keep some views of each", {"augment": Augment(flip=True)}),
        ("440 B are more than there is room for, or than the limit, 439 B", {"cache": ActivationCache(limit=439)}),
    ],
)  # fmt: skip
def test_it_says_why_it_stands_aside(reason, options):
    done, _ = train(**options)
    assert done.phases[0].activations == reason


def test_a_model_that_is_no_classifier_trains_as_ever():
    class Own(nn.Module):
        base: Base
        head: Head

        def __call__(self, x, train=False):
            return self.head(self.base(x, train), train)

    own = replace(RANDOM, model=Own(RANDOM.model.base, RANDOM.model.head))
    done = train(case=own, variables=RANDOM.variables())
    assert done[0].phases[0].activations == "the model is no tlx.models.Classifier"
    alike(done, train(cache=OFF))


@pytest.mark.slow
def test_another_process_that_computes_the_same_is_waited_for(tmp_path, caplog):
    cache = ActivationCache("disk", folder=str(tmp_path))
    first = train(cache=cache)
    (folder, _) = [each for each in tmp_path.iterdir() if each.is_dir()]
    taken, asked = threading.Event(), threading.Event()

    def hold():
        with filelock.FileLock(tmp_path / f"{folder.name}.lock"):
            taken.set()
            asked.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait(60)
    threading.Timer(1.0, asked.set).start()
    same(first, train(cache=cache))
    holder.join()
    assert f"{folder}: another process computes these activations; waiting" in caplog.text


def test_the_least_limit_is_enough():
    assert train(cache=ActivationCache(limit=440))[0].phases[0].activations == "440 B after block, in memory"


def test_a_large_one_goes_to_the_disk_and_one_too_large_for_it_nowhere(monkeypatch, tmp_path):
    monkeypatch.setattr(tlx.training.cache, "free_memory", lambda: 4 * 439)
    cache = ActivationCache(folder=str(tmp_path))
    assert train(cache=cache)[0].phases[0].activations == "440 B after block, on disk"
    monkeypatch.setattr(tlx.training.cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 2 * 439}))
    cache = replace(cache, folder=str(tmp_path / "empty"))
    assert train(cache=cache)[0].phases[0].activations.startswith("440 B are more than there is room for")


def test_a_full_disk_is_told_and_training_goes_on(monkeypatch, tmp_path, caplog):
    def full(self, first, rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.DiskRows, "put", full)
    done = train(cache=ActivationCache("disk", folder=str(tmp_path)))
    alike(done, train(cache=OFF))
    assert done[0].phases[0].activations.startswith("cannot be kept (No space left on device)")
    assert "No space left on device" in caplog.text


def test_a_folder_that_cannot_be_made_is_told_and_training_goes_on(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    done = train(cache=ActivationCache("disk", folder=str(tmp_path / "file" / "activations")))
    assert done[0].phases[0].activations.startswith("cannot be kept (Not a directory)")
    assert "Not a directory" in caplog.text


@pytest.mark.parametrize("wrong", [{"where": "ram"}, {"dtype": "int8"}, {"limit": -1}, {"views": -1}], ids=str)
def test_a_cache_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"[Cc]ache"):
        ActivationCache(**wrong)


# Views, types


@pytest.mark.slow
def test_views_are_those_of_the_first_epochs_and_taken_in_turns():
    augment = Augment(flip=True, crop=(0.5, 1.0))
    plain = train((replace(HEAD, epochs=2),), cache=OFF, augment=augment)
    kept = train((replace(HEAD, epochs=2),), cache=ActivationCache("memory", views=2), augment=augment)
    alike(plain, kept)
    longer = train((replace(HEAD, epochs=4),), cache=ActivationCache("memory", views=2), augment=augment)
    every = train((replace(HEAD, epochs=4),), cache=OFF, augment=augment)
    losses = [[record["loss"] for record in done[1]] for done in (longer, every)]
    assert losses[0][:2] == pytest.approx(losses[1][:2], rel=1e-4)
    assert losses[0][2] != pytest.approx(losses[1][2], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "size"), [("float16", 2), ("bfloat16", 2), ("float32", 4)])
@pytest.mark.parametrize("where", ["memory", "disk"])
def test_a_narrower_type_takes_less_room_and_rounds(dtype, size, where, tmp_path):
    cache = ActivationCache(where, folder=str(tmp_path))
    exact, kept = train(cache=cache), train(cache=replace(cache, dtype=dtype))
    assert kept[0].phases[0].activations.startswith(f"{22 * 5 * size} B after block")
    for one, other in zip(exact[1], kept[1], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=0.02)
    assert (exact[1] == kept[1]) == (size == 4)  # float32 is what is computed


def test_activations_that_a_type_cannot_hold_are_refused():
    large = map_with_path(
        lambda path, leaf: leaf * 1e6 if path.endswith("norm/scale") else leaf, PLAIN.variables()["params"]
    )
    variables = {**PLAIN.variables(), "params": large}
    with pytest.raises(ConfigError, match="activations of stage 'block' overflow float16: keep them in bfloat16"):
        train(case=PLAIN, variables=variables, cache=ActivationCache("memory", dtype="float16"))


# On disk


def folders(path):
    return {
        each.name: {file.name: file.read_bytes() for file in each.iterdir()} for each in path.iterdir() if each.is_dir()
    }


def test_the_next_run_finds_it(tmp_path):
    cache = ActivationCache("disk", folder=str(tmp_path))
    first = train(cache=cache)
    before, examples = folders(tmp_path), Counted(TRAIN)
    assert len(before) == 2  # of training and of validation
    same(first, train(cache=cache, train=examples))
    assert examples.asked.sum() == 1  # to see what a batch is
    assert folders(tmp_path) == before


def flipped(variables):
    """Change the last bit of one number of a frozen leaf."""
    kernel = np.array(variables["params"]["base"]["stem"]["dense"]["kernel"])
    kernel.view(np.uint32)[0, 0] ^= 1
    stem = {
        **variables["params"]["base"]["stem"],
        "dense": {**variables["params"]["base"]["stem"]["dense"], "kernel": kernel},
    }
    return {**variables, "params": {**variables["params"], "base": {**variables["params"]["base"], "stem": stem}}}


def changed_pixel():
    images = TRAIN.images.copy()
    images[3, 0, 0] ^= 1
    return ArraySource(images, TRAIN.targets, TRAIN.classes)


CHANGES = {
    "a bit of a frozen leaf": (4, lambda: {"variables": flipped(RANDOM.variables())}),
    "a pixel": (3, lambda: {"train": changed_pixel()}),
    "the preprocessing": (4, lambda: {"preprocess": replace(SPEC, invert=True)}),
    "the type": (4, lambda: {"cache": ActivationCache("disk", dtype="float16")}),
    "the stage": (4, lambda: {"recipe": (BLOCK,)}),
    "views": (3, lambda: {"augment": Augment(flip=True), "cache": ActivationCache("disk", views=2)}),
    "a class's name": (2, lambda: {"train": ArraySource(TRAIN.images, TRAIN.targets, ("x", "y", "z"))}),
    "the seed": (2, lambda: {"seed": 1}),
    "the batch": (2, lambda: {"batch_size": 7}),
    "a leaf of the head": (2, lambda: {"variables": map_head(RANDOM.variables())}),
}  # what is changed, and how many folders there are then


def map_head(variables):
    return {
        **variables,
        "params": {**variables["params"], "head": jax.tree.map(lambda leaf: leaf + 1, variables["params"]["head"])},
    }


@pytest.mark.slow
@pytest.mark.parametrize("what", CHANGES)
def test_only_what_it_depends_on_makes_a_new_one(what, tmp_path):
    count, change = CHANGES[what]
    train(cache=ActivationCache("disk", folder=str(tmp_path)))
    options = change()
    cache = replace(options.pop("cache", ActivationCache("disk")), folder=str(tmp_path))
    train(cache=cache, **options)
    assert len(folders(tmp_path)) == count


@pytest.mark.parametrize("fault", ["killed", "cut", "bit", "parts cut", "parts bit", "no parts", "no rows"])
def test_what_is_whole_is_taken_and_the_rest_computed_again(fault, tmp_path, monkeypatch):
    monkeypatch.setattr(tlx.training.cache, "batch_of", lambda _: 4)
    cache = ActivationCache("disk", folder=str(tmp_path))
    whole, examples = train(cache=cache), Counted(TRAIN)
    before = folders(tmp_path)
    (folder,) = [each for each in tmp_path.iterdir() if each.is_dir() and (each / "rows").stat().st_size == 14 * 20]
    rows, parts = folder / "rows", folder / "parts.jsonl"
    content, lines = rows.read_bytes(), parts.read_bytes().splitlines(keepends=True)
    assert [json.loads(line)["rows"] for line in lines] == [4, 4, 4, 2]
    if fault == "killed":  # between the rows and their line
        rows.write_bytes(content[: 8 * 20])
        parts.write_bytes(lines[0])
    elif fault == "cut":
        rows.write_bytes(content[: 6 * 20])
    elif fault == "bit":
        rows.write_bytes(content[:90] + bytes([content[90] ^ 1]) + content[91:])
    elif fault == "parts cut":
        parts.write_bytes(lines[0] + lines[1][:9])
    elif fault == "parts bit":
        parts.write_bytes(lines[0] + lines[1].replace(b'"', b"\x00", 1) + lines[2])
    elif fault == "no parts":
        parts.unlink()
    else:
        rows.unlink()
    same(whole, train(cache=cache, train=examples))
    kept = 0 if fault.startswith("no ") else 4
    assert examples.asked[kept:].min() >= 1
    assert examples.asked[:kept].sum() == min(kept, 1)  # to see what a batch is
    assert folders(tmp_path) == before


def test_a_run_that_is_stopped_while_it_fills_leaves_what_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(tlx.training.cache, "batch_of", lambda _: 4)
    cache, put = ActivationCache("disk", folder=str(tmp_path)), store.DiskRows.put

    def stop(self, first, rows):
        if first == 8:
            raise Stopped
        put(self, first, rows)

    monkeypatch.setattr(store.DiskRows, "put", stop)
    with pytest.raises(Stopped):
        train(cache=cache)
    monkeypatch.setattr(store.DiskRows, "put", put)
    examples = Counted(TRAIN)
    alike(train(cache=OFF), train(cache=cache, train=examples))
    assert examples.asked[:8].sum() == 1  # to see what a batch is


@pytest.mark.slow
def test_room_is_made_by_removing_what_was_used_longest_ago(tmp_path):
    small = ActivationCache("disk", folder=str(tmp_path), limit=800)
    train(cache=small)
    first = set(folders(tmp_path))
    train(cache=replace(small, dtype="float16"))
    both = set(folders(tmp_path))
    assert first < both  # 440 and 220 bytes are under the limit
    train(cache=small)  # now the first is the younger one
    train(cache=replace(small, dtype="bfloat16"))
    assert first <= set(folders(tmp_path))
    assert not (both - first) <= set(folders(tmp_path))


def test_frozen_until_goes_from_the_first_stage_on():
    labels = {"base": {"a": {"w": "frozen"}, "b": {"w": "x"}, "c": {"w": "frozen"}}, "head": {"w": "x"}}
    assert frozen_until(labels, ("a", "drop", "b", "c")) == "drop"
    assert frozen_until({**labels, "base": {**labels["base"], "a": {"w": "x"}}}, ("a", "drop", "b", "c")) is None


def test_nothing_is_removed_that_is_not_a_cache_s(tmp_path):
    thesis = tmp_path / "thesis" / "draft.txt"
    named = tmp_path / ("0" * 64) / "mine.txt"
    for file in (thesis, named):
        file.parent.mkdir()
        file.write_bytes(bytes(5000))
    train(cache=ActivationCache("disk", folder=str(tmp_path), limit=1000))
    train(cache=ActivationCache("disk", folder=str(tmp_path), limit=1000, dtype="float16"))
    assert thesis.exists()
    assert named.exists()


def test_what_is_on_the_disk_already_needs_no_room(tmp_path, monkeypatch):
    cache, asked = ActivationCache("disk", folder=str(tmp_path)), Counted(TRAIN)
    first = train(cache=cache)
    monkeypatch.setattr(tlx.training.cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 30}))
    same(first, train(cache=cache, train=asked))
    assert asked.asked.sum() == 1  # to see what a batch is


@pytest.mark.slow
def test_what_no_phase_needs_takes_no_room():
    done, _ = train((HEAD, BLOCK), cache=ActivationCache("memory", limit=530))
    assert [phase.activations for phase in done.phases] == [
        "440 B after block, in memory",
        "528 B after stem, in memory",
    ]


@pytest.mark.slow
def test_rows_are_rounded_once(tmp_path):
    """What the last stage makes is kept from images, also where a lower stage's activations, rounded, are at hand."""
    cache, again = ActivationCache("disk", dtype="bfloat16"), replace(HEAD, name="again")
    whole, alone, only = (replace(cache, folder=str(tmp_path / name)) for name in ("whole", "alone", "only"))
    train((BLOCK, again), cache=whole)
    between, _ = train((BLOCK,), cache=alone)
    train((again,), variables=between.variables, cache=only)
    assert folders(tmp_path / "only").items() <= folders(tmp_path / "whole").items()


def test_another_program_on_the_same_leaves_is_another_key():
    model = Classifier(Base((Stage("double", Scaled(2.0)), *RANDOM.model.base.stages)), RANDOM.model.head)
    other = Classifier(Base((Stage("double", Scaled(3.0)), *RANDOM.model.base.stages)), RANDOM.model.head)
    variables = RANDOM.variables()
    keys = [
        tlx.training.cache.program_sha256(each, variables, SPEC, COLLATED, "block")
        for each in (model, model.copy(), other)
    ]
    assert keys[0] == keys[1] != keys[2]


class Scaled(nn.Module):
    """A stage whose factor its printed form does not show."""

    factor: float

    def __call__(self, x, train=False):
        return x * self.factor

    def __repr__(self):
        return "Scaled"


@pytest.mark.parametrize("rows", [10**14, 4 * 10**18, -1, 0, True, "4", None])
def test_a_part_that_claims_too_much_is_not_believed(rows, tmp_path):
    cache = ActivationCache("disk", folder=str(tmp_path))
    first = train(cache=cache)
    for parts in tmp_path.glob("*/parts.jsonl"):
        parts.write_text(json.dumps({"rows": rows, "sha256": "0" * 64}) + "\n")
    same(first, train(cache=cache))
