"""GPU: a whole process from its start to the end of its first training step."""

from __future__ import annotations

import tempfile
from dataclasses import replace

from bench import gpu
from bench.harness import Options, Peer, Report, Results, compare
from bench.peers import Flavour
from bench.processes import training
from bench.start import start_file

TOLERANCE = 1e-3


def run(options: Options) -> Report:
    """Return the seconds of processes, those of gpucnn with and without compiled kernels."""
    ours = gpu.ours(options, ["fused"])[0]
    report = gpu.report("import, data, network, one step at batch 64", options)
    images = options.size(60_000, 128)
    with start_file(images) as start:
        spec = {"start": start, "images": images, "steps": 1, "evaluate": False}
        peers = [
            process(replace(ours, name="gpucnn"), spec),
            process(replace(ours, name="gpucnn, nothing compiled"), spec, empty=True),
            *(process(flavour, spec) for flavour in gpu.pytorch(options, ["eager"])),
        ]
        reference = Flavour("reference", "ours", ours.env, {"dtype": "float64"})
        expected = training(reference, **spec)[1]
        report.rows.append(
            compare(
                "process",
                peers,
                expected,
                rounds=options.pick(3),
                tolerance=TOLERANCE,
                out_of_time=options.out_of_time,
            )
        )
    return report


def process(flavour: Flavour, spec: dict[str, object], empty: bool = False) -> Peer:
    """Return a process as a peer; ``empty``: it starts with an empty kernel cache of CuPy's."""

    def once() -> tuple[float, Results]:
        with tempfile.TemporaryDirectory() as folder:
            env = {**flavour.env, **({"CUPY_CACHE_DIR": folder} if empty else {})}
            done, loss = training(replace(flavour, env=env), **spec)
        return done.seconds, loss

    return Peer(
        flavour.name,
        lambda: once()[1],
        lambda count: sum(once()[0] for _ in range(count)),
        count=1,
    )
