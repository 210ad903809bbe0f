"""The rooms of the package: which may import which, and that no two files import each other.

Every import counts, also those in functions and under TYPE_CHECKING.
"""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import gpucnn

PACKAGE = Path(gpucnn.__file__).parent

GROUND = {"errors", "version", "files", "config", "arithmetic", "rng"}
DATA_CHECKS = {"data.files", "data.checks"}
DATA_SET = {"data.types", "data.names", "data.lazy", "data.split", "data.dataset"}
DATA_GROUND = GROUND | DATA_CHECKS | DATA_SET | {"data.assembly", "data.digests", "data.sides"}
DATA = DATA_GROUND | {"data", "data.formats", "data.images"}
BACKENDS = GROUND | {"backends", "backends.contract", "backends.cuda"}
# A room may import those that stand above it in this table, as far as they are listed.
MAY_IMPORT = {
    "errors": set(),
    "version": set(),
    "files": set(),
    "arithmetic": set(),
    "config": {"errors"},
    "rng": {"errors"},
    "emulator": {"errors", "files"},
    "backends.contract": GROUND,
    "backends.numpy": GROUND | {"backends.contract"},
    "backends.cuda": GROUND | {"backends.contract"},
    "backends": GROUND | {"backends.contract", "backends.numpy", "backends.cuda", "emulator"},
    "nn": GROUND | {"backends", "backends.contract"},
    "testing.naive": set(),
    "testing": BACKENDS | {"testing.naive", "nn", "emulator"},
    "machine": GROUND | {"backends", "backends.contract", "backends.cuda", "emulator"},
    "machine.gpus": {"errors", "emulator"},
    "data.files": GROUND,
    "data.sides": GROUND,
    "data.checks": GROUND,
    "data.types": set(),
    "data.names": set(),
    "data.lazy": {"errors", "data.types"},
    "data.split": GROUND | DATA_CHECKS | {"data.types", "data.lazy"},
    "data.dataset": GROUND | DATA_CHECKS | {"data.names", "data.split"},
    "data.assembly": GROUND | DATA_CHECKS | DATA_SET,
    "data.digests": GROUND | DATA_SET,
    "data.packed": DATA_GROUND,
    "data.arrays": DATA_GROUND,
    "data.formats": DATA_GROUND | {"data.arrays"},
    "data.digits": DATA_GROUND | {"data.formats"},
    "data.images": DATA_GROUND | {"data.digits"},
    "data.folders": DATA_GROUND | {"data.images"},
    "data.parquet": DATA_GROUND | {"data.arrays", "data.images", "data.folders"},
    "data": DATA_GROUND
    | {"data.parquet", "data.arrays", "data.formats", "data.images", "data.folders", "data.packed"},
    "optim": GROUND | {"backends", "backends.contract"},
    "models": GROUND | {"nn"},
    "exchange": GROUND | {"nn", "backends", "backends.contract"},
    "training": DATA
    | {"nn", "optim", "machine", "backends", "backends.contract", "emulator", "exchange"},
    "plots": DATA | {"nn", "optim", "training", "backends", "backends.contract"},
    "rbm": DATA
    | {"nn", "optim", "models", "machine", "training", "backends", "backends.contract"},
    "web": DATA | {"nn", "models", "training", "backends", "backends.contract"},
    "cli": DATA
    | {"testing", "training", "models", "nn", "optim", "machine", "machine.gpus", "backends"}
    | {"emulator", "exchange", "plots", "web", "rbm", "data.arrays", "data.packed"},
    "": DATA
    | {"backends", "nn", "optim", "models", "exchange", "training", "rbm", "plots", "machine"}
    | {"cli"},
}  # fmt: skip
ROOT_ENTRIES = 24


@cache
def files() -> dict[str, Path]:
    """Every module of the package by its dotted name without ``gpucnn``."""
    return {dotted(path): path for path in PACKAGE.rglob("*.py") if "kernels" not in path.parts}


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    """The room that a module is in: the longest name of the table that its name begins with."""
    candidates = [name for name in MAY_IMPORT if f"{module}.".startswith(f"{name}.")]
    return max(candidates, key=len, default="")


@cache
def imports(module: str) -> set[str]:
    """The modules of the package that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(files()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "gpucnn":
                target = name.partition(".")[2]
                # A name that is not a module is defined in the one that it is imported from.
                found.add(target if target in files() else target.rpartition(".")[0])
    return found - {module}


@pytest.mark.parametrize("module", sorted(files()))
def test_imports_go_one_way(module: str) -> None:
    here = room(module)
    others = {name for name in imports(module) if room(name) != here}
    refused = {name for name in others if room(name) not in MAY_IMPORT[here]}
    assert not refused, f"{here or 'the root'} must not import {', '.join(sorted(refused))}"


def test_no_two_files_import_each_other() -> None:
    try:
        list(TopologicalSorter({name: imports(name) for name in files()}).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(name or "gpucnn" for name in error.args[1]))


def test_the_table_of_rooms_has_no_circle() -> None:
    list(TopologicalSorter(MAY_IMPORT).static_order())


def test_the_root_fits_on_half_a_screen() -> None:
    hidden = ("__pycache__", "kernels")  # an installed package has the kernels inside
    assert len([p for p in PACKAGE.iterdir() if p.name not in hidden]) <= ROOT_ENTRIES


def test_only_backends_knows_cupy_and_only_the_command_line_rich() -> None:
    for module, path in files().items():
        text = path.read_text(encoding="utf-8")
        for library, home in (("cupy", "backends.cuda"), ("rich", "cli")):
            used = f"import {library}" in text or f"from {library}" in text
            assert not used or room(module) == home, module
