"""What is known of the runs that a report is on: what their folders hold, and their test images."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpucnn.cli.overlap import check_fit, digests_for, without_trained
from gpucnn.cli.recorded import data_for
from gpucnn.cli.sources import (
    how_labelled,
    loss_for,
    model_name,
    read_data,
    read_model,
    scale_pixels,
)
from gpucnn.data import Data, Split
from gpucnn.data.arrays.targets import Labelling
from gpucnn.errors import CheckpointError, DataError, GpucnnError, SettingError
from gpucnn.nn.losses import Loss
from gpucnn.nn.sequential import Sequential
from gpucnn.plots.page.subject import Subject
from gpucnn.training.files.checkpoint import FILE_NAME, Checkpoint, load
from gpucnn.training.records.folder import RunRecord, read_record
from gpucnn.training.results.evaluation import evaluate


class SubjectReader:
    """Reads runs and their data; data that several runs have are read once."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.read: dict[tuple[object, ...], Data] = {}

    def subject(self, name: str, title: str) -> Subject:
        """Return what is known of a run; what is missing is noted.

        Raises SettingError if it is not a run, CheckpointError if its checkpoint is damaged, and
        GpucnnError for --data that cannot be used.
        """
        folder = Path(name)
        record = read_record(folder) if folder.is_dir() else None
        if record is not None and not (folder / FILE_NAME).exists():
            if not record.epochs and record.started is None:
                raise SettingError(
                    f"{name} holds no run: expected a folder that gpucnn train has written, with "
                    f"{FILE_NAME} and log.jsonl"
                )
            note = f"there is no {FILE_NAME}, so nothing of the network can be shown"
            return _with_record(Subject(title, notes=(note,)), record)
        saved = load(name)
        metadata = saved.metadata
        trained_on = metadata.get("data")
        subject = Subject(
            title,
            data=trained_on["name"] if trained_on else "",
            version=str(metadata.get("gpucnn", "")),
            settings=metadata.get("settings", {}),
        )
        subject = self._with_model(subject, saved, name, record)
        return subject if record is None else _with_record(subject, record)

    def _with_model(
        self, subject: Subject, saved: Checkpoint, name: str, record: RunRecord | None
    ) -> Subject:
        """Return the subject with its model and, if there are test images, its evaluation."""
        try:
            model = self._model(saved)
        except CheckpointError as error:
            if self.arguments.model is not None:
                raise
            return _noted(subject, f"the network cannot be shown: {error}")
        subject = replace(subject, model=model)
        try:
            labels = how_labelled(model, self.arguments)
            data = data_for(saved, record, self.arguments, labels, self._read_data)
            check_fit(model, data)
            test, note = _unseen(saved, data)
        except GpucnnError as error:
            if self.arguments.data is not None:
                raise
            return _noted(subject, f"there are no test images: {error}")
        scale_pixels(model, name)
        return _noted(_evaluated(subject, data, test, loss_for(saved, model)), note)

    def _model(self, saved: Checkpoint) -> Sequential:
        """Return the model; --model builds it if the file does not hold its code."""
        backend, precision = self.arguments.backend, self.arguments.precision
        try:
            return read_model(saved, backend, None, precision)
        except CheckpointError:
            if self.arguments.model is None:
                raise
            return read_model(saved, backend, self.arguments.model, precision)

    def _read_data(
        self,
        name: str,
        resize: str | None,
        seed: int,
        transpose: str | None,
        labels: Labelling,
    ) -> Data:
        key = (name, resize, seed, transpose, labels)
        if key not in self.read:
            self.read[key] = read_data(name, resize, seed, transpose, labels)
        return self.read[key]


def _unseen(saved: Checkpoint, data: Data) -> tuple[Split, str]:
    """Return the test images that a network was not trained on, and a note or ""."""
    seen, note = digests_for(saved, data)
    return (data.test, note) if seen is None else without_trained(seen, data)


def _evaluated(subject: Subject, data: Data, test: Split, loss: Loss) -> Subject:
    """Return the subject with its evaluation on some test images."""
    assert subject.model is not None
    result = evaluate(subject.model, test, loss=loss)
    subject = replace(subject, data=data.name, test=test, evaluation=result)
    if not math.isfinite(result.loss):
        subject = _noted(subject, "the outputs of the network contain NaN or infinity")
    return subject


def _noted(subject: Subject, note: str) -> Subject:
    """Return the subject with one more note, unless it is empty."""
    return replace(subject, notes=(*subject.notes, note)) if note else subject


def _with_record(subject: Subject, record: RunRecord) -> Subject:
    """Return the subject with what the folder of its run records."""
    started = record.started
    return replace(
        subject,
        run=record,
        network=_network(record),
        data=subject.data or (started.data if started else ""),
        version=record.version or subject.version or (started.version if started else ""),
        options=record.options,
        settings=record.settings or subject.settings or (started.settings if started else {}),
    )


def _network(record: RunRecord) -> str:
    """Return the name of a run's network, "" if it is unknown: without config.json."""
    given: dict[str, Any] = {
        key: record.options[key] for key in ("model", "init") if key in record.options
    }
    known = bool(record.settings) and all(isinstance(name, str) for name in given.values())
    return model_name(given) if known else ""


def subject_of_training(folder: Path, model: Sequential, data: Data, loss: Loss) -> Subject:
    """Return what is known of a run that has just ended."""
    subject = Subject(folder.resolve().name, model)
    assert model.seen is not None
    try:
        test, note = without_trained(model.seen, data)
    except DataError as error:
        subject = _noted(subject, f"there are no test images: {error}")
    else:
        subject = _noted(_evaluated(subject, data, test, loss), note)
    return _with_record(subject, read_record(folder))
