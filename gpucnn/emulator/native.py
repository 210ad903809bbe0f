"""The runtime library: compiled once, loaded when it is first needed, called through ctypes."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from gpucnn.emulator import abi, cache, toolchain

_NAME = "runtime.so"
_PYTHON = ("PyEval_SaveThread", "PyEval_RestoreThread", "PyErr_CheckSignals")
"""Functions of Python that run its signal handlers during a launch: see interrupts.cpp."""

MAX_FAULTS = abi.constant("max_faults")
Where = abi.structure("Where")
Fault = abi.structure("Fault")
Faults = Fault * MAX_FAULTS
Site = abi.structure("Site")


class _Output(ctypes.Structure):
    """struct Output of runtime/output.cpp; the text is longer."""

    _fields_ = (("used", ctypes.c_size_t), ("lost", ctypes.c_size_t), ("text", ctypes.c_char))


class Runtime:
    """The loaded library; its functions are described in runtime/memory.cpp and launch.cpp."""

    def __init__(self, path: Path) -> None:
        self.path = path
        library = cache.load(path)
        pointer, size, number, text = (
            ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_char_p,
        )  # fmt: skip

        def function(name: str, result: object, *parameters: object) -> ctypes._NamedFuncPointer:
            found = library[name]
            found.restype, found.argtypes = result, parameters  # type: ignore[assignment]
            return found

        self.allocate = function(
            "gpu_allocate", pointer, size, number, ctypes.POINTER(ctypes.c_size_t)
        )
        self.adopt = function("gpu_adopt", pointer, size, size)
        self.release = function("gpu_release", None, pointer)
        self.poison = function("gpu_poison", None, pointer)
        self.mark_written = function("gpu_mark_written", None, pointer, size, size)
        self.all_written = function("gpu_all_written", number, pointer)
        self.written_map_distance = function("gpu_written_map_distance", size)
        self.open_module = function("gpu_open_module", pointer, pointer, size, size)
        self.add_shared = function("gpu_add_shared", None, pointer, size, size, text, number)
        self.set_places = function("gpu_set_places", None, pointer, pointer, size)
        self._profile = function(
            "gpu_profile", size, ctypes.POINTER(Site), size, ctypes.POINTER(ctypes.c_uint64)
        )
        self.add_variable = function("gpu_add_variable", None, pointer, size, size, text, number)
        self.set_padded = function("gpu_set_padded", None, pointer)
        # Called with Python's global lock, which it releases, and may raise what handlers raise.
        self._launch = cache.load(path, ctypes.PyDLL)["gpu_launch_from_python"]
        self._launch.restype, self._launch.argtypes = number, (text, ctypes.POINTER(Fault))
        set_python = function("gpu_set_python", None, pointer, pointer, pointer)
        set_python(*(ctypes.cast(ctypes.pythonapi[name], pointer) for name in _PYTHON))
        abi.verify((ctypes.c_size_t * len(abi.SHARED)).in_dll(library, "gpu_struct_sizes"))
        self._output = _Output.in_dll(library, "gpu_output")
        self._faults = Faults()
        self._lock = threading.Lock()
        self._running: int | None = None  # the thread that runs a launch

    def launch(
        self, request: bytes, collect: Callable[[Any, tuple[int, int]], None] | None = None
    ) -> list[Any]:
        """Run a launch until it ends and return its faults. ``request``: see arguments.py.

        collect: in profile mode, receives the sites and the distinct sectors, unless there was a
        fault. In the main thread, signal handlers run in the meantime; what they raise ends the
        launch. Raises MemoryError if the emulator itself has no memory.
        """
        if self._running == threading.get_ident():
            raise RuntimeError("a signal handler cannot launch a kernel while another one runs")
        printed = ""
        try:
            with self._lock:
                self._running = threading.get_ident()
                try:
                    count = self._launch(request, self._faults)
                    faults = [Fault.from_buffer_copy(self._faults[i]) for i in range(count)]
                    if collect and not count:
                        collect(*self._counted())
                finally:
                    self._running = None
                    if self._output.used:
                        printed = self._take_output()
        finally:
            if printed:
                sys.stdout.write(printed)
        if count < 0:
            raise MemoryError("the emulator has no memory for a launch")
        return faults

    def _take_output(self) -> str:
        """Return what the launch has printed, and empty the buffer."""
        output = self._output
        text = ctypes.string_at(ctypes.addressof(output) + type(output).text.offset, output.used)
        lost = f"(printf: {output.lost} bytes more did not fit in the buffer)\n"
        shown = text.decode(errors="replace") + (lost if output.lost else "")
        output.used = output.lost = 0
        return shown

    def _counted(self) -> tuple[Any, tuple[int, int]]:
        """Return the sites of the last launch, and its distinct sectors read and written."""
        once = (ctypes.c_uint64 * 2)()
        count = self._profile(None, 0, once)
        sites = (Site * count)()
        self._profile(sites, count, once)
        return sites, (once[0], once[1])


@lru_cache(maxsize=1)
def runtime() -> Runtime:
    """Return the runtime, compiled if it is not in the cache.

    Raises BackendError where the emulator cannot run.
    """
    compiler = toolchain.find_compiler()
    flags = [
        *("-std=c++17", "-O2", "-g1", "-w", "-fPIC", "-shared", "-pthread"),
        *("-fvisibility=hidden", "-fno-exceptions"),
        "-U_FORTIFY_SOURCE",  # its longjmp does not leave a fiber
    ]
    name = cache.key(toolchain.compiler_version(compiler), " ".join(flags), toolchain.own_sources())

    def build(folder: Path) -> None:
        source = str(toolchain.RUNTIME / "runtime.cpp")
        # Kernels' libraries find the loaded runtime by this name.
        soname = f"-Wl,-soname,gpucnn-runtime-{name}.so"
        toolchain.compile_code([compiler, *flags, source, "-o", _NAME, soname], folder)

    return Runtime(cache.cached(name, build) / _NAME)
