"""Benchmarks of gpucnn beside PyTorch on the same CPU: ``python -m bench`` lists them."""
