"""The figures of an evaluation: of each image, of each class, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from runs import train
from small import blobs, small_data, small_model

import gpucnn
from gpucnn.backends import Backend
from gpucnn.data import Split
from gpucnn.nn.layers import Flatten, Linear, Sigmoid, Softmax
from gpucnn.nn.losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from gpucnn.training.results.figures import Evaluation, confusions


def normalized(model: gpucnn.Sequential) -> gpucnn.Sequential:
    model.normalization = ((0.5,), (0.25,))
    return model


def predicting(wanted: Sequence[int], outputs: int) -> tuple[gpucnn.Sequential, Any]:
    """A model and images whose predicted classes are ``wanted``."""
    model = gpucnn.Sequential([Flatten(), Linear(outputs, outputs)], (1, 1, outputs))
    model.load_state_dict({"1.weight": np.eye(outputs), "1.bias": np.zeros(outputs)})
    model.normalization = ((0.0,), (1.0,))
    return model, (255 * np.eye(outputs, dtype=np.uint8)[list(wanted)])[:, None, None]


def test_figures_of_each_class_are_those_of_counting() -> None:
    labels, predictions = [0, 0, 0, 0, 1, 1, 1, 4, 4], [0, 0, 1, 2, 1, 1, 0, 1, 4]
    model, images = predicting(predictions, 5)
    result = gpucnn.evaluate(model, Split(images, np.array(labels)), batch_size=4)
    pairs = list(zip(labels, predictions, strict=True))
    matrix = [[pairs.count((row, column)) for column in range(5)] for row in range(5)]
    assert result.labels.tolist() == labels
    assert result.predictions.tolist() == predictions
    assert result.confusion_matrix.tolist() == matrix
    assert result.confusion_matrix.dtype == np.int64
    assert result.support.tolist() == [4, 3, 0, 0, 2]
    # Class 2 has no images, class 3 is never predicted either: 0, as in scikit-learn.
    assert result.precision == pytest.approx([2 / 3, 1 / 2, 0, 0, 1])
    assert result.recall == pytest.approx([2 / 4, 2 / 3, 0, 0, 1 / 2])
    assert result.f1 == pytest.approx([4 / 7, 4 / 7, 0, 0, 2 / 3])
    assert result.classes == ("0", "1", "2", "3", "4")
    assert (result.correct, result.count) == (5, 9)


def test_figures_of_each_image_are_those_of_predict(backend: Backend) -> None:
    data = small_data()
    model = normalized(small_model()).to(backend)
    model.classes = ("a", "b", "c")  # the fourth output has no name
    result = gpucnn.evaluate(model, data.test, batch_size=7)
    wanted = model.predict(data.test.images, batch_size=7)
    np.testing.assert_array_equal(result.probabilities, wanted)
    np.testing.assert_array_equal(result.predictions, wanted.argmax(1))
    np.testing.assert_array_equal(result.labels, data.test.labels)
    assert result.probabilities.dtype == backend.dtype
    assert result.confusion_matrix.sum() == 40
    assert result.confusion_matrix.trace() == result.correct
    assert result.classes == ("a", "b", "c", "3")
    assert result.has_probabilities


def test_a_prediction_is_the_greatest_score_where_probabilities_are_equal() -> None:
    """float32 rounds the sigmoid of both scores to 1."""
    model, images = predicting([2], 4)
    model.load_state_dict({"1.weight": 20 * np.eye(4), "1.bias": np.array([0, 30, 20, 0])})
    model.output = "sigmoid"
    result = gpucnn.evaluate(model, Split(images, np.array([2])))
    assert result.probabilities.tolist() == [[0.5, 1, 1, 0.5]]
    assert (result.predictions.tolist(), result.correct) == ([2], 1)


@pytest.mark.parametrize(
    ("loss", "last", "has_probabilities"),
    [
        (CrossEntropyLoss(), [], True),
        (MSELoss(), [], False),
        (MSELoss(), [Softmax()], True),
        (BCEWithLogitsLoss(), [], True),
        (BCELoss(), [Sigmoid()], True),
    ],
    ids=str,
)
def test_probabilities_follow_from_the_loss_of_the_training(
    loss: Any, last: list[Any], has_probabilities: bool
) -> None:
    model = gpucnn.Sequential([Flatten(), Linear(64, 4), *last], (1, 8, 8))
    data = small_data()
    train(model, data=data, epochs=1, loss=loss)
    result = gpucnn.evaluate(model, data.test, loss=loss)
    assert result.has_probabilities == has_probabilities
    np.testing.assert_array_equal(result.probabilities, model.predict(data.test.images))
    assert result.confusion_matrix.trace() == result.correct


def test_an_ignored_class_is_in_no_figure_of_a_class() -> None:
    labels, predictions = [0, 1, 1, 2, 2], [0, 1, 2, 2, 1]
    model, images = predicting(predictions, 3)
    split = Split(images, np.array(labels))
    result = gpucnn.evaluate(model, split, loss=CrossEntropyLoss(ignore_index=2))
    assert result.predictions.tolist() == predictions
    assert result.confusion_matrix.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert result.support.tolist() == [1, 2, 0]
    assert result.confusion_matrix.trace() == result.correct == 2


def test_scores_with_nan_are_no_prediction() -> None:
    data = small_data()
    model = normalized(small_model())
    model.flat_parameters[...] = np.nan
    result = gpucnn.evaluate(model, data.test)
    assert set(result.predictions.tolist()) == {-1}
    assert not result.confusion_matrix.any()
    assert result.correct == 0
    assert result.recall.tolist() == [0, 0, 0, 0]


def test_evaluations_are_equal_if_all_figures_are() -> None:
    data = small_data()
    model, other = normalized(small_model()), normalized(small_model(seed=1))
    first, again = (gpucnn.evaluate(model, data.test) for _ in range(2))
    assert first == again
    assert hash(first) == hash(again)
    assert first != gpucnn.evaluate(other, data.test)
    assert first != "accuracy"
    moved = Evaluation(**{**vars(first), "predictions": first.predictions[::-1]})
    assert moved != first


def test_an_evaluation_is_shown_as_a_table() -> None:
    labels, predictions = [0, 0, 0, 1, 1], [0, 1, 1, 1, 1]
    model, images = predicting(predictions, 3)
    model.classes = ("<cat>", "dog", "eel")
    result = gpucnn.evaluate(model, Split(images, np.array(labels)))
    lines = repr(result).splitlines()
    assert lines[0].startswith("accuracy 60.00 % (3 of 5 images), loss 0.")
    assert [line.split() for line in lines[1:]] == [
        ["class", "precision", "recall", "F1", "images", "most", "often", "taken", "for"],
        ["<cat>", "100.00", "%", "33.33", "%", "50.00", "%", "3", "dog", "(2)"],
        ["dog", "50.00", "%", "100.00", "%", "66.67", "%", "2"],
        ["eel", "-", "-", "-", "0"],
    ]
    html = result._repr_html_()
    assert "<td>&lt;cat&gt;</td><td>100.00 %</td>" in html
    assert html.count("<tr>") == 4


def test_of_many_classes_those_with_the_lowest_f1_are_shown() -> None:
    labels = np.arange(30)
    model, images = predicting([*range(25), 0, 0, 0, 0, 0], 30)
    result = gpucnn.evaluate(model, Split(images, labels))
    first, heading, *rows = repr(result).splitlines()
    assert first.endswith("of 30 classes, 20 with the lowest F1")
    assert heading.startswith("class")
    assert [int(row.split()[0]) for row in rows[:6]] == [25, 26, 27, 28, 29, 0]
    assert len(rows) == 20
    assert len(result.rows()) == 30


def test_confusions_of_random_predictions() -> None:
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 7, (2, 500))
    wanted = np.zeros((7, 7), int)
    np.add.at(wanted, (labels, predictions), 1)
    np.testing.assert_array_equal(confusions(labels, predictions, 7), wanted)


def test_training_keeps_no_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The evaluation after an epoch reads nothing of the device but its totals."""
    model, data = small_model(), small_data()
    read: list[int] = []
    to_numpy = type(model.backend).to_numpy

    def counting(be: Any, array: Any) -> Any:
        read.append(array.size)
        return to_numpy(be, array)

    model.normalization = data.statistics()
    batches = gpucnn.training.Batches(model, blobs(200), 10)
    monkeypatch.setattr(type(model.backend), "to_numpy", counting)
    gpucnn.training.results.evaluation.evaluate_batches(batches, CrossEntropyLoss())
    assert read == [20 * 2]
