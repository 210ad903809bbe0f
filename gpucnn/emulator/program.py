"""A source with its options, compiled for each mode when it is first needed there."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence

from gpucnn.emulator import options as compiler_options
from gpucnn.emulator import settings
from gpucnn.emulator.compiled import Compiled, Request, compiled
from gpucnn.emulator.memory import Variable
from gpucnn.errors import SettingError, unknown

BACKENDS = ("nvrtc", "nvcc")


class Program:
    """A CUDA source. ``compile`` returns its code for a mode.

    The code of each mode has its own variables. Those of the mode that ran first hold the values:
    a launch in another mode copies them there and back.
    """

    def __init__(
        self,
        code: str | None,
        options: tuple[str, ...],
        backend: str,
        name_expressions: Sequence[str] | None,
        enable_cooperative_groups: bool,
        jitify: bool | None,
        path: str | None = None,
    ) -> None:
        if (code is None) == (path is None):
            raise TypeError("exactly one of code and path must be given")
        if not isinstance(options, tuple):
            raise TypeError(f"options must be a tuple, got {type(options).__name__}")
        if backend not in BACKENDS:
            raise unknown("compiler backend", backend, BACKENDS)
        if name_expressions is not None and backend != "nvrtc":
            raise ValueError("only the backend nvrtc supports name_expressions")
        if code is None:
            raise SettingError(
                f"the emulator compiles sources and cannot run machine code: {path}; use code="
            )
        if not isinstance(code, str):
            raise TypeError(f"code must be a str, got {type(code).__name__}")
        if enable_cooperative_groups:
            raise SettingError(
                "the emulator does not support cooperative launches (grid.sync()): launch one"
                " kernel for each phase"
            )
        if jitify:
            raise SettingError(
                "the emulator does not support jitify: it finds C++'s headers itself"
            )
        if not code.lstrip().startswith("#line"):
            code = f'#line 1 "<code>"\n{code}'
        parsed = compiler_options.parse((*options, *compiler_options.CUPYS_OPTIONS))
        self.request = Request(code, parsed, tuple(name_expressions or ()))
        self._compiled: dict[str, Compiled] = {}
        self._variables: dict[str, Variable] = {}
        self._lock = threading.Lock()
        self._home: Compiled | None = None  # whose variables hold the values

    def compile(self, mode: str | None = None) -> Compiled:
        """Return the code compiled for a mode, by default the current one."""
        mode = mode or settings.current().mode
        if mode not in self._compiled:
            self._compiled[mode] = compiled(self.request, mode)
            with self._lock:
                self._home = self._home or self._compiled[mode]
        return self._compiled[mode]

    def symbol(self, name: str) -> str:
        """Return the symbol of a kernel, by its name or by one of the name expressions.

        Raises SettingError with the closest name if there is none.
        """
        notes = self.compile().notes
        name = notes["expressions"].get(name, name)
        if name in notes["kernels"]:
            return name
        if name in notes["mangled"]:
            raise SettingError(
                f'cudaErrorSymbolNotFound: kernel {name} is not extern "C", so its name is mangled:'
                f" use RawModule(..., name_expressions=[{name!r}])"
            )
        known = [*notes["kernels"], *notes["expressions"]]
        raise SettingError(f"cudaErrorSymbolNotFound: {unknown('kernel', name, known)}")

    def variable(self, name: str) -> Variable:
        """Return the memory of a variable; SettingError if there is none of that name."""
        self.compile()
        assert self._home is not None
        variables = self._home.variables
        if name not in variables:
            plain = [found for found in variables if not found.startswith("_Z")]
            raise SettingError(f"cudaErrorSymbolNotFound: {unknown('variable', name, plain)}")
        if name not in self._variables:
            self._variables[name] = Variable(*variables[name])
        return self._variables[name]

    def exchange(self, made: Compiled, back: bool) -> None:
        """Copy the values of variables to the code of another mode, or back from there."""
        if made is self._home or self._home is None or not made.notes["variables"]:
            return
        own, others = self._home.variables, made.variables
        for name in own.keys() & others.keys():
            (home, size), (copy, _) = own[name], others[name]
            ctypes.memmove(*((home, copy) if back else (copy, home)), size)
