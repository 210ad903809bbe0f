"""Several processes that share a run: each computes a part of every batch.

``group.py`` is what a run needs of processes that all run the same loop (ranks), ``mpi.py`` does it
by MPI, wherever its ranks are, and ``nccl.py`` adds gradients on GPUs, where ``device.py`` computes
them. ``workers.py`` starts processes of this machine that only compute gradients, with
``worker.py`` and ``shared.py``. ``part.py`` computes the part of a batch in all of them.

``choice.py`` makes the group; how this process was started is in ``gpucnn.machine.launch``.
``agreement.py`` compares the ranks, ``exchange.py`` adds in their order, and ``watch.py`` (MPI) and
``pulse.py`` (workers) notice processes that have ended or do not respond.
"""
