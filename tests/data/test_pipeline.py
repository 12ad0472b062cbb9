import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.data import ArraySource, Feed, Subset, batches, gather, steps_per_epoch
from tlx.data.share import Share
from tlx.errors import ConfigError, DataError
from tlx.images import Augment, Preprocess

N = 23
SOURCE = ArraySource(np.arange(N, dtype=np.uint8).reshape(N, 1, 1), np.arange(N))
SAME = Preprocess(1, 1, 1, scale=1.0)


def order(source=SOURCE, batch_size=5, **options):
    epoch = options.pop("epoch", 0)
    feed = Feed(batch_size, **options)
    return np.concatenate([batch["target"] for batch in batches(source, SAME, feed, epoch=epoch)]).tolist()


class Ragged:
    classes = ("0", "1")

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return {"input": np.full((index + 1, 2), 9, np.uint8), "target": index % 2}


@settings(max_examples=30)
@given(st.integers(0, N), st.integers(1, 30), st.booleans(), st.integers(0, 2**70), st.integers(0, 99))
def test_every_example_comes_once_with_its_label(count, batch_size, shuffle, seed, epoch):
    source = Subset(SOURCE, np.arange(count))
    got = list(batches(source, SAME, Feed(batch_size, shuffle=shuffle, seed=seed), epoch=epoch))
    assert len(got) == steps_per_epoch(count, batch_size)
    assert all(len(batch["target"]) == batch_size for batch in got[:-1])
    for batch in got:
        assert (batch["input"].dtype, batch["target"].dtype) == (np.uint8, np.int32)
        assert batch["input"].shape == (len(batch["target"]), 1, 1, 1)
        assert (batch["input"].reshape(-1) == batch["target"]).all()
    assert sorted(np.concatenate([[], *(batch["target"] for batch in got)]).tolist()) == list(range(count))


def test_the_order_depends_on_seed_and_epoch_only():
    assert order() == list(range(N))
    assert order(seed=1, epoch=1) == list(range(N))
    runs = {(seed, epoch): order(shuffle=True, seed=seed, epoch=epoch) for seed in range(4) for epoch in range(4)}
    assert len(set(map(tuple, runs.values()))) == 16
    assert list(range(N)) not in runs.values()
    for (seed, epoch), run in runs.items():
        assert run == order(shuffle=True, seed=seed, epoch=epoch)
        assert run == order(shuffle=True, seed=seed, epoch=epoch, batch_size=7)


def test_two_iterators_do_not_disturb_each_other():
    first, second = (batches(SOURCE, SAME, Feed(5, shuffle=True)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert (one["target"] == other["target"]).all()


def test_images_of_several_sizes_are_preprocessed_one_by_one():
    batch = gather(Ragged(), Preprocess(4, 4, 3), np.array([2, 0, 1]))
    assert batch["input"].shape == (3, 4, 4, 3)
    assert batch["target"].tolist() == [0, 0, 1]


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, True, None])
def test_a_bad_batch_size_is_refused_before_the_first_batch(batch_size, refuses):
    with refuses(ConfigError, "batch_size"):
        Feed(batch_size)


def test_negative_numbers_are_refused(refuses):
    with refuses(ConfigError, "seed"):
        Feed(5, seed=-1)
    for name in ("epoch", "first"):
        with refuses(ConfigError, name):
            batches(SOURCE, SAME, Feed(5), **{name: -1})


def test_importing_the_room_is_light_and_using_grain_warns_of_nothing():
    code = (
        "import sys, tlx.data as data\n"
        "heavy = {'grain', 'jax', 'sklearn', 'scipy', 'PIL', 'matplotlib', 'tensorflow_datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import numpy as np\n"
        "source = data.ArraySource(np.zeros((9, 4, 4), np.uint8), np.arange(9))\n"
        "feed = data.Feed(4, shuffle=True, workers=2)\n"
        "from tlx.images import Preprocess\n"
        "print(sum(len(b['target']) for b in data.batches(source, Preprocess(4, 4, 1), feed)))\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "9\n", "")


# Threads, places, padding, balance


class Slow:
    """ImageFiles of several sizes, decoded the slower the earlier they stand in a batch."""

    classes = tuple(map(str, range(4)))
    targets = np.array([0] * 20 + [1] * 10 + [2] * 2 + [3])

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        time.sleep(0.001 * ((index * 7) % 5))
        pixels = np.random.default_rng(index).integers(0, 256, (12 + index % 3, 16, 3), dtype=np.uint8)
        return {"input": pixels, "target": int(self.targets[index])}


SPEC = Preprocess(8, 8, 3)
EVERYTHING = Augment(flip=True, crop=(0.3, 1.0), rotate=20, brightness=0.4, hue=0.1, randaugment=(2, 9), erase=0.5)


def epoch_of(**options):
    given = {name: options.pop(name) for name in ("epoch", "first") if name in options}
    return list(batches(Slow(), SPEC, Feed(6, seed=3, shuffle=True, **options), **given))


LARGE = ArraySource(np.zeros((3, 1024, 1024), np.uint8), [0, 1, 2])


@pytest.mark.parametrize(
    ("source", "side", "augment", "threads"),
    [
        (SOURCE, 8, None, False),
        (Subset(SOURCE, [1, 0, 2]), 8, None, False),
        (SOURCE, 8, Augment(flip=True), True),
        (LARGE, 1024, None, True),
        (Slow(), 8, None, True),
    ],
)
def test_threads_are_asked_for_where_a_batch_is_work(source, side, augment, threads, monkeypatch):
    import grain

    options, asked = grain.ReadOptions, []
    monkeypatch.setattr(grain, "ReadOptions", lambda **how: asked.append(how) or options(**how))
    made = batches(source, Preprocess(side, side, 1), Feed(2, augment=augment))
    assert sum(len(batch["target"]) for batch in made) == len(source)
    assert bool(asked) == threads


def same(one, other):
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all((a[key] == b[key]).all() for key in a) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(
    "options", [{}, {"augment": EVERYTHING}, {"augment": EVERYTHING, "balanced": True, "pad": True}]
)
def test_the_number_of_threads_changes_nothing(options):
    alone = epoch_of(workers=0, **options)
    for workers in (1, 2, 5):
        assert same(epoch_of(workers=workers, **options), alone)
    assert not same(epoch_of(workers=0, epoch=1, **options), alone)


@pytest.mark.parametrize(
    "options", [{}, {"pad": True}, {"balanced": True, "pad": True}, {"pad": True, "share": Share(2)}]
)
@pytest.mark.parametrize("size", [4, 6])
def test_small_batches_made_at_once_are_those_made_one_by_one(options, size, monkeypatch):
    source = ArraySource(np.random.default_rng(0).integers(0, 256, (36, 8, 8), dtype=np.uint8), np.arange(36) % 5)
    for count in (36, 33, size - 1):
        part = Subset(source, np.arange(count))
        feed = Feed(size, seed=2, shuffle=True, **options)
        alone = list(batches(part, SPEC, replace(feed, workers=1)))
        for at_once in (1, 2, 3, 100):
            monkeypatch.setattr("tlx.data.pipeline.LIGHT", at_once * size * 8 * 8 * 3)
            for first in range(len(alone) + 1):
                assert same(list(batches(part, SPEC, feed, first=first)), alone[first:])


def test_small_batches_are_made_at_once_up_to_a_megabyte_of_what_is_read_or_made(monkeypatch):
    gathered = []
    real = gather
    monkeypatch.setattr("tlx.data.pipeline.gather", lambda *given: gathered.append(len(given[2])) or real(*given))
    small = ArraySource(np.zeros((300, 64, 64), np.uint8), np.arange(300) % 2)
    large = ArraySource(np.zeros((7, 600, 600), np.uint8), np.arange(7) % 2)
    for source, expected in ((small, [1, 256, 44]), (large, [1, 2, 2, 2, 1])):
        gathered.clear()
        assert sum(len(each["target"]) for each in batches(source, Preprocess(64, 64, 1), Feed(2))) == len(source)
        assert gathered == expected  # the first one to see what a batch takes


def test_an_epoch_is_taken_up_where_it_was_left():
    whole = epoch_of(augment=EVERYTHING)
    for first in range(7):
        assert same(epoch_of(augment=EVERYTHING, first=first), whole[first:])


def test_a_image_varies_with_the_epoch_and_not_with_its_place_or_batch():
    feed = Feed(33, seed=3, augment=EVERYTHING, workers=0)
    [still] = batches(Slow(), SPEC, feed)
    seen = {image.tobytes() for image in still["input"]}
    for batch_size in (5, 33):
        moved = batches(Slow(), SPEC, Feed(batch_size, seed=3, shuffle=True, augment=EVERYTHING))
        assert {image.tobytes() for batch in moved for image in batch["input"]} == seen
    [later] = batches(Slow(), SPEC, feed, epoch=1)
    assert not seen & {image.tobytes() for image in later["input"]}


def test_the_last_batch_is_padded_behind_a_mask():
    *full, last = epoch_of(pad=True)
    assert [batch["mask"].tolist() for batch in full] == [[True] * 6] * 5
    assert last["mask"].tolist() == [True] * 3 + [False] * 3
    assert last["input"].shape == (6, 8, 8, 3)
    assert (last["input"][3:] == last["input"][0]).all()
    assert (last["target"][3:] == last["target"][0]).all()
    even = batches(Subset(Slow(), range(12)), SPEC, Feed(6, pad=True))
    assert [set(batch) for batch in even] == [{"input", "target"}] * 2


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 23), st.integers(1, 3), st.integers(1, 4), st.sampled_from([1, 2, 4]), st.integers(1, 3))
def test_hosts_make_a_batch_between_them(count, parts, each, hosts, local):
    """What they make, put together device by device, is the whole batch in order, part after part, and padding."""
    size, devices = parts * each, hosts * local
    source = Subset(SOURCE, range(count))
    whole = list(batches(source, SAME, Feed(size, seed=2, shuffle=True, pad=True)))
    feeds = [
        Feed(size, seed=2, shuffle=True, pad=True, share=Share(parts, devices, host, hosts)) for host in range(hosts)
    ]
    for expected, *made in zip(whole, *(batches(source, SAME, feed) for feed in feeds), strict=True):
        rows = {
            name: np.concatenate([batch[name].reshape(parts, -1) for batch in made], axis=1)
            for name in ("target", "mask")
            if name in made[0]
        }
        assert len({len(batch["target"]) for batch in made}) == 1
        assert rows["target"].shape[1] % devices == 0
        kept = rows["target"][:, :each].ravel()
        mask = rows["mask"] if "mask" in rows else np.ones_like(rows["target"], bool)
        assert not mask[:, each:].any()
        real = expected.get("mask", np.ones(size, bool))
        assert kept[real].tolist() == expected["target"][real].tolist()
        assert (mask[:, :each].ravel() == real).all()


def test_balance_draws_every_class_equally_often():
    for epoch in range(3):
        drawn = epoch_of(balanced=True, epoch=epoch)
        labels = np.concatenate([batch["target"] for batch in drawn])
        assert sorted(np.bincount(labels)) == [8, 8, 8, 9]
    images = np.concatenate([batch["input"] for batch in drawn])
    ones = {image.tobytes() for image in images[labels == 1]}
    assert len(ones) == (labels == 1).sum()  # no repetition while there are others left
    assert len({image.tobytes() for image in images[labels == 3]}) == 1
    varied = epoch_of(balanced=True, augment=EVERYTHING)
    images, labels = (np.concatenate([batch[key] for batch in varied]) for key in ("input", "target"))
    assert len({image.tobytes() for image in images[labels == 3]}) == (labels == 3).sum()


def test_a_fault_in_a_thread_comes_out_as_it_is(refuses):
    class Broken(Slow):
        def __getitem__(self, index):
            raise DataError(f"image {index}: gone; bring it back")

    for workers in (0, 2):
        with refuses(DataError, "gone; bring it back"):
            list(batches(Broken(), SPEC, Feed(6, workers=workers)))


@pytest.mark.parametrize("options", [{"balanced": True}, {"workers": -1}, {"workers": 1.5}, {"workers": True}])
def test_what_a_feed_cannot_be_is_refused(options, refuses):
    with refuses(ConfigError, next(iter(options))):
        Feed(5, **options)


def test_an_image_that_cannot_be_used_is_named(refuses):
    class Strips:
        classes = ("a",)
        names = ("good.png", "strip.png")

        def __len__(self):
            return 2

        def __getitem__(self, index):
            return {"input": np.zeros((1, 300) if index else (8, 8), np.uint8), "target": 0}

    strict = Preprocess(8, 8, 1, resize=256)
    for augmented in (None, lambda place, image: strict.frame_one(image)):
        with refuses(DataError, "strip.png: 1 x 300 would become 76800 pixels long"):
            gather(Strips(), strict, np.array([0, 1]), augmented)
    Strips.names = None
    with refuses(DataError, "example 1: 1 x 300 would become"):
        gather(Strips(), strict, np.array([0, 1]))
