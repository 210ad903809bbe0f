"""What this machine is: its processor and libraries (``gpucnn doctor``), and whether its backends
compute correctly (``gpucnn check``). Nothing is imported here: NumPy must not load too early."""
