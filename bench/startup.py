"""Start-up: importing gpucnn and PyTorch, and the command line's help."""

from __future__ import annotations

import sys

from bench.harness import Options, Peer, Report, Results, compare
from bench.peers import HAS_TORCH, Flavour, run_process

COMMANDS = {
    "python alone": ["-c", "pass"],
    "import gpucnn": ["-c", "import gpucnn"],
    "import numpy": ["-c", "import numpy"],
    "make a LeNet-5": ["-c", "import gpucnn; gpucnn.models.lenet5()"],
    "gpucnn --help": ["-m", "gpucnn", "--help"],
    "import torch": ["-c", "import torch"],
}


def run(options: Options) -> Report:
    """Return a row for each process; all must end with status 0."""
    peers = [process(name, command) for name, command in COMMANDS.items()]
    if not HAS_TORCH:
        peers.pop()
    row = compare("process", peers, {}, rounds=options.pick(9))
    report = Report("start-up", row.split("process"), compares_pytorch=False)
    if "import torch" in row.costs:
        middle, least, greatest = row.ratio("import torch", "make a LeNet-5")
        report.notes.append(
            f"import torch / make a LeNet-5 with gpucnn: {middle:.1f} ({least:.1f}-{greatest:.1f})"
        )
    return report


def process(name: str, command: list[str]) -> Peer:
    """Return a process as a peer; its check, status 0, also warms the disk cache."""
    flavour = Flavour(name, "", {"OPENBLAS_NUM_THREADS": "1"})

    def check() -> Results:
        run_process([sys.executable, *command], flavour)
        return {}

    def cost(count: int) -> float:
        return sum(run_process([sys.executable, *command], flavour).seconds for _ in range(count))

    return Peer(name, check, cost, count=1)
