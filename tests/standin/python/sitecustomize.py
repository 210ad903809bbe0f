"""Replaces one module of CuPy, ``cupy_backends.cuda.api.runtime``, when it is imported.

The replacement is built from CuPy's own source, unchanged, and linked to the stand-in. The wheel's
module contains NVIDIA's runtime, which works with NVIDIA's driver only. Everything else is the
wheel's. The environment's own sitecustomize, if there is one, runs afterwards.
"""

import ctypes
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build"
REPLACED = "cupy_backends.cuda.api.runtime"


class Finder:
    """Finds the replaced module, and nothing else."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """Return where the replacement is, or None for every other module."""
        if name != REPLACED:
            return None
        library = BUILD / f"runtime{EXTENSION_SUFFIXES[0]}"
        if not library.exists():
            setup = HERE.parent / "setup"
            raise RuntimeError(f"no stand-in is built for this Python: {setup} {sys.executable}")
        # Loaded first, so that they are those that CuPy finds, whatever else is installed.
        ctypes.CDLL(str(BUILD / "libnccl.so.2"))
        nvrtc = ctypes.CDLL(str(BUILD / "libnvrtc.so.12"))
        nvrtc.nvrtcGetErrorString(0)  # a bad value of STANDIN_... ends the process here
        return spec_from_file_location(
            name, library, loader=ExtensionFileLoader(name, str(library))
        )


def run_next():
    """Run the sitecustomize that Python would have found without this folder."""
    others = [folder for folder in sys.path if Path(folder).resolve() != HERE]
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(module_from_spec(spec))


sys.meta_path.insert(0, Finder)
run_next()
