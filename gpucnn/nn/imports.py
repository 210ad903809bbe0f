"""Python files of the user that define models and layers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from gpucnn.errors import GpucnnError, SettingError

PREFIX = "gpucnn_model_"
"""The names of their modules begin with this."""


def import_file(path: Path) -> ModuleType:
    """Import a Python file as a module; SettingError says why it cannot be imported."""
    if not path.is_file():
        found = f"{path} is not a regular file" if path.exists() else f"no such file: {path}"
        raise SettingError(found)
    name = PREFIX + path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SettingError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if isinstance(error, GpucnnError):
            raise
        raise SettingError(f"{path} failed: {type(error).__name__}: {error}") from error
    return module


def files_of(pickled: bytes) -> list[str]:
    """Return the files, of those that ``import_file`` has imported, whose classes a pickle names.

    Another process must import them before it can load the pickle, and no others: code of a file
    that is not needed must not run again.
    """
    modules = [
        module
        for name, module in sorted(sys.modules.items())
        if name.startswith(PREFIX) and name.encode() in pickled
    ]
    return [module.__file__ for module in modules if module.__file__]
