"""Which data sets are recognised as digits prepared like MNIST's, and which are not."""

import io

import numpy as np
import pytest
from handwriting import TEN, as_data, digits, emnist_digits, transposed
from PIL import Image

from gpucnn.data import Data, Split, mnist
from gpucnn.data.preparation import MNIST_FINGERPRINT, lies_transposed, recognise
from gpucnn.errors import SettingError

RNG = np.random.default_rng(5)


def changed(images, labels=None):
    """The digits with other images or labels."""
    split = digits()
    return Split(np.ascontiguousarray(images), split.labels if labels is None else labels)


def as_jpeg(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=60)
    return np.asarray(Image.open(file))


def of_classes(*kept):
    split = digits()
    chosen = np.isin(split.labels, kept)
    return Split(split.images[chosen], np.searchsorted(kept, split.labels[chosen]))


def binary(images):
    return (images > 100).astype(np.uint8) * 255


DIGITS = {
    "mnist": (digits(), TEN),
    "a few": (digits(20), TEN),
    "one": (digits(1), TEN),
    "shuffled labels": (changed(digits().images, RNG.permutation(digits().labels)), TEN),
    "two classes with names": (of_classes(3, 7), ("three", "seven")),
    "one class": (of_classes(4), ("4",)),
    "as jpeg": (changed(np.stack([as_jpeg(i[0])[None] for i in digits().images])), TEN),
    "black and white": (changed(binary(digits().images)), TEN),
    "emnist": (emnist_digits(), TEN),
    "emnist in 47 classes": (emnist_digits(), TEN + tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt")),
    "moved by two pixels": (changed(np.roll(digits().images, 2, axis=3)), TEN),
}


@pytest.mark.parametrize("name", DIGITS)
def test_digits_are_recognised(name):
    assert recognise(as_data(*DIGITS[name])) == "digit"


def clothes():
    """Filled shapes that reach the borders, as those of Fashion-MNIST."""
    images = np.zeros((300, 1, 28, 28), np.uint8)
    for image, label in zip(images[:, 0], digits().labels, strict=True):
        width = 4 + label
        image[0:28, 14 - width : 14 + width] = RNG.integers(60, 255, (28, 2 * width))
        image[14:, 13:15] = 0 if label % 2 else 200
    return images


def discs_and_bars():
    """Centred shapes of many sizes on a black background."""
    images = np.zeros((300, 1, 28, 28), np.uint8)
    y, x = np.mgrid[:28, :28] - 13.5
    for index, image in enumerate(images[:, 0]):
        radius = 3 + index % 9
        image[(x**2 + y**2 < radius**2) if index % 2 else (abs(x) < radius) & (abs(y) < 2)] = 255
    return images


OTHERS = {
    "clothes": changed(clothes()),
    "discs and bars": changed(discs_and_bars(), np.arange(300) % 2),
    "discs and bars, ten classes": changed(discs_and_bars()),
    "noise": changed(RNG.integers(0, 256, (300, 1, 28, 28), dtype=np.uint8)),
    "black": changed(np.zeros((300, 1, 28, 28), np.uint8)),
    "white": changed(np.full((300, 1, 28, 28), 255, np.uint8)),
    "inverted digits": changed(255 - digits().images),
    "digits upside down, scaled": changed(emnist_digits().images[:, :, ::-1, ::-1]),
    "scaled digits, wrong labels": Split(emnist_digits().images, (digits().labels + 3) % 10),
    "digits on noise": changed(np.maximum(digits().images, RNG.integers(0, 200, (28, 28), "u1"))),
    "digits in 32x32": changed(np.pad(digits().images, ((0, 0), (0, 0), (2, 2), (2, 2)))),
    "digits in colour": changed(np.repeat(digits().images, 3, 1)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_images_are_not(name):
    assert recognise(as_data(OTHERS[name])) == "plain"


def test_mnist_has_the_fingerprint_that_is_stored():
    data = mnist()
    assert data.fingerprint() == MNIST_FINGERPRINT
    assert (data.preparation, data.limit(5).preparation) == ("digit", "digit")


@pytest.mark.parametrize("split", [digits(), emnist_digits()], ids=["mnist", "emnist"])
def test_transposed_digits_are_recognised(split):
    assert lies_transposed(as_data(transposed(split))) is True
    assert lies_transposed(as_data(split)) is False


@pytest.mark.parametrize("split", [digits(5), *OTHERS.values()], ids=["five digits", *OTHERS])
def test_what_is_not_digits_does_not_lie_transposed(split):
    found = lies_transposed(as_data(split))
    assert found is None


def test_a_preparation_that_does_not_exist():
    with pytest.raises(SettingError, match="unknown preparation 'digits': did you mean 'digit'"):
        Data(digits(), digits(), TEN, "set", preparation="digits")
