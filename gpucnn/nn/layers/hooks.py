"""How ``CustomOp`` calls the methods that users write: arguments by name, results checked.

Mistakes in these methods are reported in one line that names the class and the method.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.custom import CustomKernels, KernelSource
from gpucnn.errors import ArrayError, GpucnnError, SettingError, ShapeError

FORWARD = ("input",)
BACKWARD = ("grad", "input", "output", "saved")
HOOKS = {
    "forward_numpy": FORWARD,
    "forward_naive": FORWARD,
    "forward_cuda": ("input", "output"),
    "backward_numpy": BACKWARD,
    "backward_naive": BACKWARD,
    "backward_cuda": (*BACKWARD, "input_grad"),
}
"""The methods, and the names of their arguments besides those of parameters."""

RESERVED = frozenset({*BACKWARD, "input_grad", "kernels", "self"})


class Op(Protocol):
    """What is used of a ``CustomOp``."""

    @property
    def parameters(self) -> Mapping[str, Any]: ...


def taken(op: Op, hook: str) -> tuple[str, ...]:
    """Return the names of the arguments that a method takes.

    SettingError if the class has no such method, or it takes others than it can be given.
    """
    return _taken(type(op), hook, tuple(op.parameters))


@cache
def _taken(kind: type, hook: str, parameters: tuple[str, ...]) -> tuple[str, ...]:
    function = getattr(kind, hook, None)
    where = f"{kind.__name__}.{hook}"
    if function is None:
        pass_, _, how = hook.partition("_")
        users = {
            "numpy": "pass on the numpy backend",
            "cuda": "pass on the cuda and emulated backends",
            "naive": "pass that the others are compared with",
        }
        raise SettingError(f"{kind.__name__} has no {hook}, the {pass_} {users[how]}")
    known = [*HOOKS[hook], *parameters]
    if hook == "backward_cuda":
        known += [f"{name}_grad" for name in parameters]
    _, *names = inspect.signature(function).parameters.values()  # the first is self
    if hook.endswith("cuda"):
        if not names:
            raise SettingError(f"{where} takes no arguments: its first must be kernels")
        names = names[1:]
    for parameter in names:
        if parameter.name not in known or parameter.kind in (
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
            inspect.Parameter.POSITIONAL_ONLY,
        ):
            raise SettingError(
                f"{where} takes {str(parameter).split(':')[0]!r}: arguments are passed by name; "
                f"expected some of {', '.join(known)}"
            )
    return tuple(parameter.name for parameter in names)


def call(op: Op, hook: str, known: Mapping[str, Any], *first: Any) -> Any:
    """Call a method with those of the ``known`` arguments that it takes, after ``first``."""
    names = taken(op, hook)
    function = getattr(op, hook)
    try:
        return function(*first, **{name: known[name] for name in names})
    except GpucnnError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError | OSError) or not _is_mistake(error):
            raise
        place = _place(error, inspect.getfile(inspect.unwrap(function)))
        raise SettingError(
            f"{type(op).__name__}.{hook} failed{place}: {type(error).__name__}: {error}"
        ) from error


def _is_mistake(error: Exception) -> bool:
    """Return whether Python or NumPy raised the error, and not CuPy or CUDA."""
    return type(error).__module__.partition(".")[0] in ("builtins", "numpy")


def _place(error: Exception, file: str) -> str:
    """Return " at FILE:LINE" of the last line in ``file`` that an error passed through."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f" at {Path(file).name}:{lines[-1]}" if lines else ""


def run_forward(
    op: Op, how: str, known: Mapping[str, Any], dtype: np.dtype[Any], shape: tuple[int, ...]
) -> tuple[NDArray[Any], Any]:
    """Return (output, saved) of ``forward_numpy`` or ``forward_naive``.

    ``how`` is "numpy" or "naive"; ``shape`` is that of the output, with the batch.
    """
    hook, backward = f"forward_{how}", f"backward_{how}"
    with np.errstate(all="ignore"):  # NaN and infinity are reported as DivergedError
        result, saved = call(op, hook, known), None
    if hasattr(op, backward) and "saved" in taken(op, backward):
        if not isinstance(result, tuple) or len(result) != 2:
            raise SettingError(
                f"{type(op).__name__}.{hook} must return (output, saved), because {backward} "
                f"takes saved; got {_kind(result)}"
            )
        result, saved = result
    return _checked(op, hook, "output", result, dtype, shape), saved


def run_backward(
    op: Op, how: str, known: Mapping[str, Any], dtype: np.dtype[Any], shape: tuple[int, ...]
) -> dict[str, NDArray[Any]]:
    """Return the gradients by name of ``backward_numpy`` or ``backward_naive``.

    ``shape`` is that of the input.
    """
    hook = f"backward_{how}"
    with np.errstate(all="ignore"):
        results = call(op, hook, known)
    shapes = {"input_grad": shape}
    shapes |= {f"{name}_grad": p.shape for name, p in op.parameters.items()}
    if not op.parameters:
        results = (results,)
    elif not isinstance(results, tuple) or len(results) != len(shapes):
        raise SettingError(
            f"{type(op).__name__}.{hook} must return ({', '.join(shapes)}), got {_kind(results)}"
        )
    return {
        name: _checked(op, hook, name, result, dtype, shapes[name])
        for name, result in zip(shapes, results, strict=True)
    }


def _checked(
    op: Op, hook: str, name: str, value: Any, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> NDArray[Any]:
    """Return a result in ``dtype``; an error unless it is an array of real numbers of ``shape``."""
    where = f"{type(op).__name__}.{hook}"
    if not isinstance(value, np.ndarray | np.generic | float | int):
        raise ArrayError(f"{where} returned {_kind(value)} for {name}, expected a numpy.ndarray")
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise ArrayError(f"{where} returned {name} of {array.dtype}, expected real numbers")
    if array.shape != shape:
        raise ShapeError(f"{where} returned {name} of shape {array.shape}, expected {shape}")
    with np.errstate(over="ignore", invalid="ignore"):  # of NaN and infinity
        return array.astype(dtype, copy=False)


def _kind(value: Any) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return "None" if value is None else type(value).__name__


def launch(
    op: Op,
    hook: str,
    be: Backend,
    kernels: CustomKernels,
    known: Mapping[str, Any],
    results: Mapping[str, Array],
    verify: bool,
) -> Any:
    """Call ``forward_cuda`` or ``backward_cuda``, which write ``results``; return what they return.

    With ``verify``, SettingError for a result of which an element was not written.
    """
    if verify:
        for array in results.values():
            be.mark_unwritten(array)
    returned = call(op, hook, {**known, **results}, kernels)
    for name, array in results.items() if verify else ():
        unwritten = be.find_unwritten(array)
        if unwritten is not None:
            count, index = unwritten
            raise SettingError(
                f"{type(op).__name__}.{hook} did not write {name}: {count} of {array.size} "
                f"elements are unset, the first at {list(index)}"
            )
    return returned


def read_source(op: Any, folder: Path) -> KernelSource:
    """Return the CUDA C of an operation: a file in ``folder``, or text."""
    name, source = type(op).__name__, getattr(op, "source", None)
    if not isinstance(source, str):
        raise SettingError(
            f'{name} has no CUDA C: set source = "FILE.cu", a file next to its Python file'
        )
    if "\n" in source or "__global__" in source:
        return KernelSource(f"<{name}.source>", source, folder)
    path = folder / source
    if not path.is_file():
        raise SettingError(f"{name}: no such file: {path} (its source)")
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise SettingError(f"{name}: cannot read {path}: {error.strerror}") from None
    return KernelSource(path.name, text, path.parent)
