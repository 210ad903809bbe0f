"""What launches are held to: the limits of GPUs, so that what runs here runs there."""

# What every GPU since 2018 has, and what a kernel may ask for at most on the GPUs of today's home
# computers (compute capability 8.6 and 8.9), in bytes.
DEFAULT_SHARED_BYTES = 48 << 10
MAX_SHARED_BYTES = 99 << 10

MAX_BLOCK = (1024, 1024, 64)
MAX_BLOCK_THREADS = 1024
MAX_GRID = (2**31 - 1, 65535, 65535)
