"""Scripts that do the same with CuPy and with the emulator.

Each takes the module, ``cupy`` or ``gpucnn.emulator``, and yields what it finds: values, and for
what is refused the name of CUDA's error, or the built-in class of Python's exception.
"""

from agreement import arrays, captures, kernels, streams
from agreement.common import Script
from agreement.operations import OPERATIONS, SITUATIONS, Operation, while_capturing

__all__ = ["OPERATIONS", "SCRIPTS", "SITUATIONS", "Operation", "Script", "while_capturing"]

SCRIPTS = [
    script
    for module in (arrays, streams, kernels, captures)
    for script in vars(module).values()
    if isinstance(script, Script)
]
