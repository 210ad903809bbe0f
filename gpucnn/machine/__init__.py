"""What this machine is: its processor and libraries (``gpucnn doctor``).

Nothing is imported here: NumPy must not load too early.
"""
