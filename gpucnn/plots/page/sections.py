"""The sections of a report: of one run, or of several that are compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpucnn.data import Split
from gpucnn.plots.page.document import Block, Figure, Section, Table, Text
from gpucnn.plots.page.network import network_sections
from gpucnn.plots.page.settings import results_table, settings_table
from gpucnn.plots.page.subject import Subject
from gpucnn.plots.regression import predictions, worst
from gpucnn.plots.results import confusion_matrix, misread, reliability
from gpucnn.plots.runs import curves
from gpucnn.training.history import epoch_table
from gpucnn.training.results.figures import HEADINGS, Evaluation
from gpucnn.training.results.regression import TARGET_HEADINGS, RegressionEvaluation
from gpucnn.training.task import percent

MAX_CLASSES = 100
"""Classes in the table of classes; of more, those with the lowest F1."""

MISREAD = 24
"""Misread images that are shown."""


def single(subject: Subject) -> list[Section]:
    """Return the sections of a report on one run."""
    sections = [Section("Settings and versions", settings_table([subject]))]
    if training := _training([subject]):
        sections.append(Section("Training", training))
    return sections + _details(subject, "")


def compared(subjects: Sequence[Subject]) -> list[Section]:
    """Return the sections of a report on several runs."""
    notes = [Text(_DIFFERENT_DATA, note=True)] if _on_different_data(subjects) else []
    sections = [
        Section("Results", [results_table(subjects), *notes]),
        Section("Settings and versions", settings_table(subjects)),
    ]
    if training := _training(subjects):
        sections.append(Section("Training", training))
    for number, subject in enumerate(subjects, 1):
        notes = [Text(note, note=True) for note in subject.notes]
        ending = [Text(subject.ending())] if subject.ending() else []
        parts = _details(subject, f"{number}-")
        sections.append(Section(subject.title, [*ending, *notes], parts))
    return sections


_DIFFERENT_DATA = (
    "These runs were evaluated on different test images, so their accuracies and losses cannot be"
    " compared with each other."
)


def _on_different_data(subjects: Sequence[Subject]) -> bool:
    prints = {
        subject.test.fingerprint() if subject.test is not None else subject.data
        for subject in subjects
    }
    return len(prints) > 1


def _training(subjects: Sequence[Subject]) -> list[Block]:
    shown = [subject for subject in subjects if subject.epochs]
    if not shown:
        return []
    names = [subject.title for subject in shown]
    last, tasks = shown[0].epochs[-1], {s.epochs[-1].task.chosen_by for s in shown}
    if len(tasks) > 1:
        return [Text("Runs on classes and runs on numbers have no common curves.", note=True)]
    main = last.task.main
    title = f"Loss and {main.title}"
    if len(subjects) > 1:
        alt = f"{title} by epoch of {len(shown)} runs: {', '.join(names)}."
    else:
        alt = (
            f"{title} by epoch. After epoch {last.epoch} the training loss is"
            f" {last.train_loss:.4f} and the test {main.title}"
            f" {main.show(last.figure('test', main.name))}."
        )
    caption = (
        f"{title} after each epoch. Those of training are means over the epoch, in which"
        " the weights changed."
    )
    blocks: list[Block] = [
        Figure("curves", curves(*(s.run for s in shown if s.run), names=names), caption, alt)
    ]
    if len(subjects) == 1:
        blocks.insert(0, Text(shown[0].ending()))
        validated = all(epoch.validation_loss is not None for epoch in shown[0].epochs)
        headings, rows = epoch_table(shown[0].epochs, validated)
        blocks.append(Table("Figures of each epoch.", headings, rows))
    return blocks


def _details(subject: Subject, prefix: str) -> list[Section]:
    """Return the sections on what a network learned; ``prefix`` begins the figures' names."""
    sections = []
    evaluation, test = subject.evaluation, subject.test
    if isinstance(evaluation, RegressionEvaluation) and test is not None:
        sections.append(Section("Test images", _predicted(evaluation, prefix)))
        sections.append(Section("Largest errors", _worst(evaluation, test, prefix)))
    elif isinstance(evaluation, Evaluation) and test is not None:
        sections.append(Section("Test images", _test_images(evaluation, prefix)))
        sections.append(Section("Misread images", _misread(evaluation, test, prefix)))
        if evaluation.has_probabilities:
            sections.append(Section("Calibration", _calibration(evaluation, prefix)))
    if subject.model is not None:
        sections += network_sections(subject, prefix)
    return sections


def _predicted(evaluation: RegressionEvaluation, prefix: str) -> list[Block]:
    """Return what is known of the predicted numbers of the test images."""
    caption = (
        "Predicted against true numbers of the test images. On the dashed line both are equal."
    )
    alt = f"Predicted against true {', '.join(evaluation.targets)}. {evaluation.line()}."
    table = "Errors of each target, and mean and standard deviation of the true numbers."
    return [
        Text(f"On the test images: {evaluation.line()}. The loss is of standardised targets."),
        Figure(f"{prefix}predictions", predictions(evaluation), caption, alt),
        Table(table, TARGET_HEADINGS, evaluation.rows()),
    ]


def _worst(evaluation: RegressionEvaluation, test: Split, prefix: str) -> list[Block]:
    caption = (
        "The test images with the largest errors, the largest first: the predicted number, and the"
        " true one."
    )
    alt = "Test images with the largest errors, with the predicted and the true number."
    figure = worst(evaluation, test.images, count=MISREAD)
    return [Figure(f"{prefix}worst", figure, caption, alt)]


def _test_images(evaluation: Evaluation, prefix: str) -> list[Block]:
    most = _most_confused(evaluation)
    text = (
        f"{evaluation.correct:,} of {evaluation.count:,} test images were read correctly,"
        f" {percent(evaluation.accuracy)}; the mean loss is {evaluation.loss:.4f}."
    )
    if most:
        text += f" Most often confused: {most}."
    caption = "Confusion matrix: the number of test images by true class and predicted class."
    alt = f"Confusion matrix of {len(evaluation.classes)} classes. Most often confused: {most}."
    rows = evaluation.rows(MAX_CLASSES)
    table = "Precision, recall and F1 of each class."
    if len(rows) < len(evaluation.classes):
        table += f" Of {len(evaluation.classes)} classes, the {len(rows)} with the lowest F1."
    return [
        Text(text),
        Figure(f"{prefix}confusion_matrix", confusion_matrix(evaluation), caption, alt),
        Table(table, HEADINGS, rows),
    ]


def _most_confused(evaluation: Evaluation, count: int = 3) -> str:
    """Return the most frequent confusions as text, "" if there are none."""
    wrong = evaluation.confusion_matrix.copy()
    np.fill_diagonal(wrong, 0)
    cells = np.argsort(-wrong, axis=None, kind="stable")[:count]
    names = evaluation.classes
    found = []
    for true, predicted in zip(*np.unravel_index(cells, wrong.shape), strict=True):
        if times := int(wrong[true, predicted]):
            found.append(f"{names[true]} read as {names[predicted]} ({times:,})")
    return ", ".join(found)


def _misread(evaluation: Evaluation, test: Split, prefix: str) -> list[Block]:
    wrong = evaluation.count - evaluation.correct
    if not wrong:
        return [Text("All test images were read correctly.")]
    shown = min(wrong, MISREAD)
    many = f"The {shown} of {wrong:,}" if shown < wrong else f"The {wrong}" if wrong > 1 else "The"
    caption = (
        f"{many} misread test {'images' if wrong > 1 else 'image'} of which the network was"
        " surest, surest first: the class that it read with its probability, and the true class"
        " with its own."
    )
    alt = f"{shown} misread test images with the predicted and the true class."
    figure = misread(evaluation, test.images, count=MISREAD)
    return [Figure(f"{prefix}misread", figure, caption, alt)]


def _calibration(evaluation: Evaluation, prefix: str) -> list[Block]:
    caption = (
        "Reliability plot: of the images that the network reads with a probability, the fraction"
        " that it reads correctly. On the diagonal both are equal; below it the network is too"
        " sure."
    )
    top = evaluation.probabilities.max(1)
    alt = (
        f"Reliability plot. The mean probability of the predicted class is {percent(top.mean())},"
        f" the accuracy {percent(evaluation.accuracy)}."
    )
    return [Figure(f"{prefix}reliability", reliability(evaluation), caption, alt)]
