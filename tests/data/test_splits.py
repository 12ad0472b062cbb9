import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from image_files import write_classes

from tlx.data import ArraySource, DataSpec, labels_of, load_data, split_rows
from tlx.data.spec import Parts
from tlx.data.splits import contradictions, split_parts

LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=60).map(np.array)
SHARES = st.sampled_from([0.0, 0.1, 0.15, 0.3, 0.5, 0.9])


def unique_digests(labels):
    return [hashlib.sha256(bytes([row])).digest() for row in range(len(labels))]


@given(LABELS, SHARES, SHARES, st.integers(0, 5))
def test_without_a_cap_every_row_is_in_one_part(labels, validation, test, seed):
    parts = split_rows(labels, unique_digests(labels), seed=seed, validation=validation, test=test)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))


@given(LABELS, SHARES, SHARES)
def test_each_class_is_shared_out_alike_and_keeps_a_training_row(labels, validation, test):
    parts = split_rows(labels, unique_digests(labels), validation=validation, test=test)
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        train, validated, tested = ((labels[part] == label).sum() for part in parts)
        assert train >= 1
        assert abs(tested - count * test) <= 1
        assert abs(validated - (count - tested) * validation) <= 1


@given(LABELS, SHARES, SHARES, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(labels, validation, test, rng):
    digests = unique_digests(labels)
    order = list(range(len(labels)))
    rng.shuffle(order)
    here = split_rows(labels, digests, validation=validation, test=test)
    there = split_rows(labels[order], [digests[row] for row in order], validation=validation, test=test)
    for one, other in zip(here, there, strict=True):
        assert one.tolist() == [order[row] for row in other]


@given(LABELS, SHARES, SHARES, st.integers(1, 8), st.integers(1, 8))
def test_fewer_labels_are_among_more_labels(labels, validation, test, few, more):
    few, more = sorted((few, more))
    digests = unique_digests(labels)
    small = split_rows(labels, digests, validation=validation, test=test, labels_per_class=few)
    large = split_rows(labels, digests, validation=validation, test=test, labels_per_class=more)
    assert set(small.train) <= set(large.train)
    assert set(small.validation) <= set(large.validation)
    assert small.test.tolist() == large.test.tolist()
    for part in (small.train, small.validation):
        assert np.bincount(labels[part], minlength=1).max() <= few


def test_the_cap_holds_for_training_and_validation_but_not_for_the_test():
    labels = np.arange(80) % 2
    parts = split_rows(labels, unique_digests(labels), validation=0.5, test=0.5, labels_per_class=3)
    assert [np.bincount(labels[part]).tolist() for part in parts] == [[3, 3], [3, 3], [20, 20]]


def test_the_first_training_rows_do_not_depend_on_the_validation_share():
    labels = np.zeros(100, int)
    few = [
        split_rows(labels, unique_digests(labels), validation=v, test=0.3, labels_per_class=10).train for v in (0, 0.5)
    ]
    assert few[0].tolist() == few[1].tolist()


def test_seeds_differ():
    labels = np.arange(100) % 2
    first, second = (split_rows(labels, unique_digests(labels), seed=seed, test=0.3) for seed in (0, 1))
    assert set(first.test) != set(second.test)
    assert first.train.tolist() == split_rows(labels, unique_digests(labels), seed=0, test=0.3).train.tolist()


def test_a_split_stays_what_it_was():
    """A changed hash or rule would quietly move test examples into the training of runs that are repeated."""
    parts = split_rows(np.arange(12) % 2, unique_digests(range(12)), seed=3, validation=0.25, test=0.34)
    assert [part.tolist() for part in parts] == [[1, 3, 7, 2, 0, 8], [9, 4], [11, 6, 5, 10]]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=80),
    SHARES,
    SHARES,
    st.integers(0, 5),
    st.sampled_from([None, 1, 4]),
)
def test_equal_inputs_land_in_one_part_whatever_their_labels(rows, validation, test, seed, cap):
    labels, inputs = np.array(rows).T
    digests = [hashlib.sha256(bytes([each])).digest() for each in inputs.tolist()]
    options = {"seed": seed, "validation": validation, "test": test, "labels_per_class": cap}
    parts = split_rows(labels, digests, **options)
    held = [set(inputs[part].tolist()) for part in parts]
    assert sum(map(len, held)) == len(set.union(*held))
    rows_of_parts = np.concatenate(parts).tolist()
    assert len(set(rows_of_parts)) == len(rows_of_parts)
    assert cap is not None or len(rows_of_parts) == len(labels)
    turned = split_rows(labels[::-1], digests[::-1], **options)
    for one, other in zip(parts, turned, strict=True):
        assert sorted(zip(labels[one], inputs[one], strict=True)) == sorted(
            zip(labels[::-1][other], inputs[::-1][other], strict=True)
        )


def test_duplicates_across_parts_are_counted():
    images = np.arange(20, dtype=np.uint8).reshape(20, 1, 1) * 12
    train = ArraySource(images, np.arange(20) % 2)
    test = ArraySource(np.concatenate([images[:3], images[:3] + 1]), [0, 1] * 3, ("0", "1"))
    data = split_parts(Parts(train, test, ("first",)), DataSpec(validation=0))
    assert data.notes == ("first", "3 of 6 test images are also in training, pixel for pixel")
    assert data.test is test
    assert len(data.validation) == 0
    same = ArraySource(np.full((10, 1, 1), 200, np.uint8), [0, 1] * 5)
    notes = split_parts(Parts(same, None, ()), DataSpec(validation=0.25, test=0.4)).notes
    assert "5 images are equal to one of another class" in notes[0]
    assert notes[1:] == (
        "2 of 2 validation images are also in training, pixel for pixel",
        "4 of 4 test images are also in training, pixel for pixel",
        "4 of 4 test images are also in validation, pixel for pixel",
    )
    parts = Parts(ArraySource(images[:10], [0, 1] * 5), ArraySource(images[8:], [0, 1] * 6), (), test)
    assert split_parts(parts, DataSpec()).notes == (
        "3 of 6 validation images are also in training, pixel for pixel",
        "2 of 12 test images are also in training, pixel for pixel",
    )
    parts = Parts(ArraySource(images[10:], [0, 1] * 5), ArraySource(images[2:10], [0, 1] * 4), (), test)
    assert split_parts(parts, DataSpec()).notes == ("1 of 8 test images are also in validation, pixel for pixel",)


def test_notes_say_what_a_cap_left_and_what_is_dark():
    images = np.arange(20, dtype=np.uint8).reshape(20, 1, 1) % 17
    data = split_parts(Parts(ArraySource(images, np.arange(20) % 2), None, ()), DataSpec(labels_per_class=2))
    assert "at most 2 labels a class: 4 for training, 4 for validation" in data.notes
    assert any("brightest pixel is 16" in note and "value_range" in note for note in data.notes)


def test_a_validation_set_of_its_own_is_taken_whole_and_capped_like_training():
    images = np.arange(60, dtype=np.uint8).reshape(60, 1, 1) + 150
    train, validation = (ArraySource(part, np.arange(30) % 2, ("a", "b")) for part in (images[:30], images[30:]))
    parts = Parts(train, None, (), validation, ("a bad one",))
    whole = split_parts(parts, DataSpec(validation=0.5, test=0.2))
    assert (len(whole.train), len(whole.validation), len(whole.test)) == (24, 30, 6)
    assert whole.validation is validation
    assert whole.skipped == ("a bad one",)
    capped = split_parts(parts, DataSpec(labels_per_class=4))
    assert [np.bincount(labels_of(part)).tolist() for part in (capped.train, capped.validation)] == [[4, 4], [4, 4]]
    assert "at most 4 labels a class: 8 for training, 8 for validation" in capped.notes


def test_classes_that_a_part_lacks_are_noted():
    images = np.arange(40, dtype=np.uint8).reshape(40, 1, 1) + 150
    classes = tuple(f"c{number}" for number in range(13))
    train = ArraySource(images, np.arange(40) % 13, classes)
    test = ArraySource(images[:2] + 50, [0, 12], classes)
    notes = split_parts(Parts(train, test, ()), DataSpec(validation=0)).notes
    listed = ", ".join(classes[1:11])
    assert notes == (f"no test image of 11 of 13 classes: {listed}, ...",)


def test_equal_images_of_different_classes_are_named(tmp_path):
    images = np.arange(20, dtype=np.uint8).reshape(20, 1, 1) + 99
    train = ArraySource(images[[0, 1, 2, 3, 1, 2]], [0, 0, 1, 1, 1, 1], ("a", "b"))
    test = ArraySource(images[[3, 5, 1]], [0, 1, 0], ("a", "b"))
    notes = split_parts(Parts(train, test, ()), DataSpec(validation=0)).notes
    assert notes[0] == (
        "2 images are equal to one of another class, so that a label is wrong: training row 1 is 'a', training row 4 "
        "'b'; training row 3 is 'b', test row 0 'a'"
    )
    many = ArraySource(np.zeros((9, 1, 1), np.uint8), [0, *[1] * 8], ("a", "b"))
    [note] = contradictions(Parts(many, None, ()))
    assert note.startswith("8 images are ")
    assert note.endswith("training row 5 'b'; and 3 more")
    assert contradictions(Parts(ArraySource(images, [0] * 20, ("a",)), None, ())) == []


def test_files_of_different_classes_are_named_by_path(tmp_path):
    write_classes(tmp_path)
    (tmp_path / "dog/copy.png").write_bytes((tmp_path / "cat/0.png").read_bytes())
    [note] = [note for note in load_data(str(tmp_path)).notes if "another class" in note]
    assert note.endswith(f"wrong: {tmp_path}/cat/0.png is 'cat', {tmp_path}/dog/copy.png 'dog'")
