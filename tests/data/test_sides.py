"""Which images are for testing: a function of each one's content, and a few exceptions."""

import hashlib

import pytest

from gpucnn.data.sides import draw_test


def digests(*names):
    return [hashlib.sha256(str(name).encode()).digest() for name in names]


def sides(names, labels, seed=0):
    """Return the names of the training and of the test files."""
    drawn = draw_test(digests(*names), labels, seed)
    assert len(drawn) == len(names)
    pairs = list(zip(names, drawn, strict=True))
    return {name for name, test in pairs if not test}, {name for name, test in pairs if test}


def test_the_split_is_the_same_in_every_version():
    assert sides(range(20), [0] * 20)[1] == {16, 9, 18, 6}
    assert sides(range(20), [0] * 20, seed=1)[1] != {16, 9, 18, 6}


def test_about_a_fifth_is_for_testing():
    train, test = sides(range(5000), [0] * 5000)
    assert 900 < len(test) < 1100
    assert len(train) + len(test) == 5000


@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_every_class_is_on_both_sides(size):
    classes = 200
    names = range(classes * size)
    train, test = sides(names, [name // size for name in names])
    for label in range(classes):
        own = set(range(label * size, (label + 1) * size))
        assert own & train
        assert own & test


def test_the_only_image_of_a_class_is_for_training():
    names = range(60)
    assert sides(names, names) == (set(names), set())
    # Copies of it, or one that is in another class as well, make no difference.
    assert sides([*names, *names], [*names, *names]) == (set(names), set())
    train, _ = sides([*names, *names], [*names, *[-1] * 60])
    assert train == set(names)


def test_growing_classes_make_test_images_of_training_images_only_in_the_rare_exception():
    """That is, of a class whose files were all below the limit: one of 25 with two files."""
    moved = 0
    for label in range(300):
        names = [f"{label}/{index}" for index in range(12)]
        for size in range(2, 12):
            before, after = (
                sides(names[:size], [0] * size),
                sides(names[: size + 1], [0] * (size + 1)),
            )
            moved += len(before[0] & after[1])
    assert 0 < moved < 30


def test_identical_files_in_two_classes_stay_together():
    names = [0, 1, 0, 1, 0, 2]
    drawn = draw_test(digests(*names), [0, 0, 1, 1, 2, 2], 0)
    assert drawn[0] == drawn[2] == drawn[4]
    assert drawn[1] == drawn[3]
    # The second file of the last class is in no other: it makes the difference.
    assert drawn[4] != drawn[5]


def test_a_class_of_copies_is_on_one_side():
    assert len(set(draw_test(digests(7, 7, 7), [0, 0, 0], 0))) == 1
    assert draw_test([], [], 0) == []
