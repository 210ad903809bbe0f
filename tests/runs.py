"""Short training runs, and what tests read from their events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from small import small_data, small_model

from gpucnn import Sequential, training
from gpucnn.training import CheckpointWritten, EpochEnded, Event, Events, StepEnded


def start(model: Sequential | None = None, data: Any = None, **options: Any) -> Events:
    """Return the events of a run of two epochs; of 70 images: 5 steps each, the last of 6."""
    model = model or small_model(seed=options.get("seed", 0))
    settings = {"epochs": 2, "batch_size": 16, **options}
    return training.events(model, data or small_data(), **settings)


def train(model: Sequential | None = None, **options: Any) -> tuple[Sequential, list[Event]]:
    """Train to the end; return the model and the events."""
    model = model or small_model(seed=options.get("seed", 0))
    return model, list(start(model, **options))


def epochs_of(events: list[Event]) -> list[EpochEnded]:
    return [event for event in events if isinstance(event, EpochEnded)]


def steps_of(events: list[Event]) -> list[StepEnded]:
    return [event for event in events if isinstance(event, StepEnded)]


def saved_steps(events: list[Event]) -> list[int]:
    """The steps after which a checkpoint was written."""
    return [event.step for event in events if isinstance(event, CheckpointWritten)]


def figures(events: list[Event]) -> list[dict[str, Any]]:
    """The figures of the epochs, without times."""
    timing = ("seconds", "images_per_second")
    rows = [event.as_dict() for event in epochs_of(events)]
    return [{key: value for key, value in row.items() if key not in timing} for row in rows]


def snapshots(path: Path, **options: Any) -> tuple[dict[int, bytes], list[Event]]:
    """Train with a checkpoint after every step; return the file's contents by step, and events."""
    contents, events = {}, []
    for event in start(checkpoint=path, checkpoint_every=1, **options):
        events.append(event)
        if isinstance(event, CheckpointWritten):
            contents[event.step] = path.read_bytes()
    return contents, events
