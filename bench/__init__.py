"""Benchmarks of gpucnn and PyTorch on the same machine: ``python -m bench`` lists them."""
