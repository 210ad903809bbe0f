"""Plants faults in the host code of the CUDA backend: functions of gpucnn get other code."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from types import CodeType, ModuleType
from typing import Any

MODES = ("eager", "late", "mixed", "emulated")
"""The modes of the stand-in, and the emulated backend, which needs no CuPy."""


@dataclass(frozen=True)
class Change:
    """A text of a function of gpucnn, "module:Class.function", and what replaces it."""

    function: str
    old: str
    new: str

    @property
    def module(self) -> ModuleType:
        return import_module(f"gpucnn.{self.function.partition(':')[0]}")

    @property
    def path(self) -> str:
        return self.function.partition(":")[2]

    def in_source(self, source: str) -> str:
        """Return the changed source; ValueError unless the function has ``old`` exactly once."""
        node: Any = ast.parse(source)
        for part in self.path.split("."):
            node = next(child for child in node.body if getattr(child, "name", "") == part)
        lines = source.splitlines(keepends=True)
        before, text = lines[: node.lineno - 1], "".join(lines[node.lineno - 1 : node.end_lineno])
        if text.count(self.old) != 1:
            raise ValueError(f"{self.function} has {self.old!r} {text.count(self.old)} times")
        text = text.replace(self.old, self.new)
        return "".join([*before, text, *lines[node.end_lineno :]])


def plant(changes: Iterable[Change]) -> None:
    """Change functions of gpucnn in this process.

    A function gets other code and stays the same object, so that modules that have imported it run
    the new code as well.
    """
    sources: dict[ModuleType, str] = {}
    for change in changes:
        module = change.module
        source = sources.get(module) or inspect.getsource(module)
        sources[module] = change.in_source(source)
    for change in changes:
        target: Any = change.module
        for part in change.path.split("."):
            target = vars(target)[part]
        code = compile(sources[change.module], str(change.module.__file__), "exec")
        target.__code__ = next(c for c in _codes(code) if c.co_qualname == change.path)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield all code objects in ``code``."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


@dataclass(frozen=True)
class HostFault:
    """A fault of the host code.

    Attributes:
        name: what is wrong, as a line of a table.
        effect: what happens on a GPU.
        changes: what plants it.
        test: the test that finds it, with {device} for the backend if there is an emulated one.
        found: the modes in which it is planted: the first mode of the stand-in in which the test
            finds it, and the emulated backend if the test finds it there.
        error: a regular expression for a line of the failure.
        before: a test that must run before it in the same process.
        cupy_only: whether the change needs CuPy itself, so that the emulator cannot have it.
    """

    name: str
    effect: str
    changes: tuple[Change, ...]
    test: str
    found: tuple[str, ...] = ("eager", "emulated")
    error: str = "assert|AssertionError"
    before: str = ""
    cupy_only: bool = False

    def tests(self, mode: str) -> list[str]:
        """Return the ids of the tests to run in a mode, none if the fault is not planted in it."""
        if mode not in self.found:
            return []
        device = "emulated" if mode == "emulated" else "cuda"
        return [test.format(device=device) for test in (self.before, self.test) if test]

    def accepts(self, failure: str | None) -> bool:
        """Return whether the output of a failed test, None if it passed, is as expected."""
        pattern = rf"^E  .*({self.error})"
        return failure is not None and re.search(pattern, failure, re.MULTILINE) is not None
