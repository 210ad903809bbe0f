"""CUDA's errors, for the user.

A launch returns before the GPU has run the kernel. So a fault of a kernel is reported by a later
call, whichever it is, and by every call after that.
"""

from __future__ import annotations

_CLASSES = frozenset({"CUDARuntimeError", "CUDADriverError"})
"""CuPy's classes for errors of the CUDA runtime and of the driver."""

_KERNEL_FAULTS = (
    "illegaladdress", "illegalinstruction", "misalignedaddress", "invalidaddressspace", "invalidpc",
    "hardwarestackerror", "launchfailure", "launchfailed", "launchtimeout", "assert",
    "eccuncorrectable", "nvlinkuncorrectable", "contained", "tensormemoryleak",
)  # fmt: skip
"""What the names of errors end in that a kernel or the GPU itself causes while it runs.

The documentation of CUDA's error codes says of each that later calls return the same error.
"""


def device_error(error: BaseException) -> str | None:
    """Return the first line of an error that CUDA reported, None for any other error."""
    if not any(base.__name__ in _CLASSES for base in type(error).__mro__):
        return None
    text = str(error).splitlines()
    return text[0] if text else type(error).__name__


def is_kernel_fault(error: BaseException) -> bool:
    """Return whether an earlier kernel or the GPU failed, so that the call itself did nothing."""
    text = device_error(error)
    if text is None:
        return False
    # cudaErrorIllegalAddress: ..., or CUDA_ERROR_ILLEGAL_ADDRESS: ...
    name = text.partition(":")[0].replace("_", "").lower()
    return name.removeprefix("cudaerror") in _KERNEL_FAULTS
