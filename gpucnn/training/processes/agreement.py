"""That all ranks of a group train the same run, and have the same weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gpucnn.errors import SettingError, WorkerError
from gpucnn.nn.sequential import Sequential
from gpucnn.training.files.checkpoint import compare
from gpucnn.training.processes.group import Group

_MOST_FAULTS = 4


class _NotGiven:
    """Stands for what one rank has and another has not."""

    def __repr__(self) -> str:
        return "not given"


_NOT_GIVEN = _NotGiven()


@contextmanager
def reporting(group: Group) -> Iterator[None]:
    """Report to the other ranks that this one fails within the block, or leaves it early."""
    try:
        yield
    except BaseException as error:
        group.fail(error)
        raise


def check_same_run(group: Group, identity: Mapping[str, Any]) -> None:
    """Raise SettingError, on every rank, unless ``identity`` is the same on all of them.

    The message names the first rank that differs from rank 0, and in what.
    """
    first, *others = group.gather(dict(identity))
    for rank, other in enumerate(others, 1):
        names = dict.fromkeys((*first, *other))
        one, two = ({name: run.get(name, _NOT_GIVEN) for name in names} for run in (first, other))
        faults = [
            f"{path} is {there} there, {here} on rank 0" for path, here, there in compare(one, two)
        ]
        if faults:
            more = [f"and {len(faults) - _MOST_FAULTS} more"] if len(faults) > _MOST_FAULTS else []
            raise SettingError(
                f"rank {rank} is to train another run than rank 0: "
                f"{'; '.join(faults[:_MOST_FAULTS] + more)}: start all ranks with the same "
                "command, backend, data and version"
            )


def check_same_weights(group: Group, model: Sequential, step: int) -> None:
    """Raise WorkerError, on every rank, unless all have the same parameters after ``step``."""
    if group.size == 1:
        return
    first, *others = group.gather(digest(model.backend.to_numpy(model.flat_parameters)))
    for rank, other in enumerate(others, 1):
        if other != first:
            raise WorkerError(
                f"the weights of rank {rank} are no longer those of rank 0 (step {step}): its code "
                "or its machine computes otherwise"
            )


def digest(*arrays: Any) -> str:
    """Return the SHA-256 of arrays of NumPy."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(memoryview(array).cast("B") if array.size else b"")
    return found.hexdigest()
