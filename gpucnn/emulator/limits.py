"""The limits of launches: those of GPUs, so that what runs here runs there."""

from gpucnn.emulator import abi

# Shared memory of a block in bytes: what every GPU since 2018 has, and what a kernel may request
# on GPUs of compute capability 8.6 and 8.9.
DEFAULT_SHARED_BYTES = 48 << 10
MAX_SHARED_BYTES = 99 << 10

MAX_BLOCK = (1024, 1024, 64)
MAX_BLOCK_THREADS = abi.constant("max_threads")
MAX_GRID = (2**31 - 1, 65535, 65535)
