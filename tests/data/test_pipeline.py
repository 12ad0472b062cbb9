import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.data import ArraySource, Preprocess, Subset, batches, gather, steps_per_epoch
from tlx.errors import ConfigError

N = 23
SOURCE = ArraySource(np.arange(N, dtype=np.uint8).reshape(N, 1, 1), np.arange(N))
SAME = Preprocess(1, 1, 1, scale=1.0)


def order(source=SOURCE, batch_size=5, **options):
    return np.concatenate([batch["label"] for batch in batches(source, SAME, batch_size, **options)]).tolist()


class Ragged:
    classes = ("0", "1")

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return {"image": np.full((index + 1, 2), 9, np.uint8), "label": index % 2}


@settings(max_examples=30)
@given(st.integers(0, N), st.integers(1, 30), st.booleans(), st.integers(0, 2**70), st.integers(0, 99))
def test_every_example_comes_once_with_its_label(count, batch_size, shuffle, seed, epoch):
    source = Subset(SOURCE, np.arange(count))
    got = list(batches(source, SAME, batch_size, shuffle=shuffle, seed=seed, epoch=epoch))
    assert len(got) == steps_per_epoch(count, batch_size)
    assert all(len(batch["label"]) == batch_size for batch in got[:-1])
    for batch in got:
        assert (batch["image"].dtype, batch["label"].dtype) == (np.float32, np.int32)
        assert batch["image"].shape == (len(batch["label"]), 1, 1, 1)
        assert (batch["image"].reshape(-1) == batch["label"]).all()
    assert sorted(np.concatenate([[], *(batch["label"] for batch in got)]).tolist()) == list(range(count))


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
    first, second = (batches(SOURCE, SAME, 5, shuffle=True) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert (one["label"] == other["label"]).all()


def test_images_of_several_sizes_are_preprocessed_one_by_one():
    batch = gather(Ragged(), Preprocess(4, 4, 3), np.array([2, 0, 1]))
    assert batch["image"].shape == (3, 4, 4, 3)
    assert batch["label"].tolist() == [0, 0, 1]


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, True, None])
def test_a_bad_batch_size_is_refused_before_the_first_batch(batch_size, refuses):
    with refuses(ConfigError, "batch_size"):
        batches(SOURCE, SAME, batch_size)


@pytest.mark.parametrize("name", ["seed", "epoch"])
def test_negative_seeds_and_epochs_are_refused(name, refuses):
    with refuses(ConfigError, name):
        batches(SOURCE, SAME, 5, shuffle=True, **{name: -1})


def test_importing_the_room_is_light_and_using_grain_warns_of_nothing():
    code = (
        "import sys, tlx.data as data\n"
        "heavy = {'grain', 'jax', 'sklearn', 'scipy', 'PIL', 'matplotlib', 'tensorflow_datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import numpy as np\n"
        "source = data.ArraySource(np.zeros((9, 4, 4), np.uint8), np.arange(9))\n"
        "print(sum(len(b['label']) for b in data.batches(source, data.Preprocess(4, 4, 1), 4, shuffle=True)))\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "9\n", "")
