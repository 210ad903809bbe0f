"""RawModule, with CuPy's interface."""

from __future__ import annotations

from collections.abc import Sequence

from gpucnn.emulator.kernel import RawKernel
from gpucnn.emulator.memory import MemoryPointer
from gpucnn.emulator.program import Program


class RawModule:
    """CUDA C source with several kernels, compiled when it is first needed, once for each mode.

    Faults name the files of its ``#line`` directives. Raises CompileError with file and line,
    SettingError for an option that the emulator does not support, BackendError without g++.
    """

    def __init__(
        self,
        *,
        code: str | None = None,
        path: str | None = None,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        name_expressions: Sequence[str] | None = None,
        jitify: bool | None = None,
    ) -> None:
        """name_expressions: the kernels that ``get_function`` is to find by their names in C++,
        such as ``scale<float>``. The other arguments are those of RawKernel; ``path``, that of
        machine code, is refused.
        """
        self._program = Program(
            code, options, backend, name_expressions, enable_cooperative_groups, jitify, path
        )
        self.code = self._program.request.code
        self.options = options
        self.backend = backend
        self.name_expressions = self._program.request.expressions or None

    def compile(self, log_stream: object = None) -> None:
        """Compile the source for the current mode now, not when a kernel is taken from it."""
        self._program.compile()

    def get_function(self, name: str) -> RawKernel:
        """Return a kernel; SettingError with the closest name if the source does not have it.

        name: that of a kernel that is extern "C", one of the name expressions, or a mangled name.
        """
        symbol = self._program.symbol(name)
        kernel = RawKernel.__new__(RawKernel)
        kernel._set(self._program, symbol, name, self.code, self.options, self.backend)
        return kernel

    def get_global(self, name: str) -> MemoryPointer:
        """Return a pointer to a ``__device__`` or ``__constant__`` variable.

        ``ndarray(shape, dtype, pointer)`` is the variable as an array. SettingError if there is no
        variable of that name.
        """
        return MemoryPointer(self._program.variable(name), 0)
