"""``bench/gpu.sh`` with commands that do nothing: what it starts, records and returns."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STEPS = {
    "tests": [
        "doctor", "tests", "check", "check64", "check-tf32", "train", "again", "same-bits",
        "evaluate", "nccl", "nccl-same-bits",
    ],
    "bench": ["gpu_lenet", "gpu_accuracy", "gpu_ops", "gpu_start", "tune"],
    "sanitize": ["memcheck", "racecheck", "memcheck-ieee", "memcheck-tf32"],
}  # fmt: skip
PYTHON = """#!/bin/sh
echo "$*" >>"$COMMANDS"
set -f
for pattern in $FAILING; do
    case "$*" in $pattern) echo "out: $*"; echo "err: $*" >&2; exit 3 ;; esac
done
case "$*" in $HANGING) echo $$ >"$COMMANDS.pid"; exec sleep 60 ;; esac
for word; do
    if [ "$last" = --out ]; then mkdir -p "$word" && echo weights >"$word/checkpoint.npz"; fi
    if [ "$last" = --json ]; then echo '{}' >"$word"; fi
    last=$word
done
"""
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bench/gpu.sh needs bash")


def script(
    tmp_path: Path, *words: str, failing: str = "-", hanging: str = "-", sanitizer: bool = True
) -> subprocess.Popen[str]:
    """Start the script with a ``python3`` that writes its arguments to tmp_path/commands."""
    programs = {"python3": PYTHON, "nvidia-smi": "#!/bin/sh\necho name, driver_version\n"}
    if sanitizer:
        programs["compute-sanitizer"] = '#!/bin/sh\nshift 4\nexec "$@"\n'
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = {
        "PATH": f"{folder}{os.pathsep}{os.defpath}",
        "OUT": str(tmp_path / "out"),
        "TMPDIR": str(tmp_path),
        "COMMANDS": str(tmp_path / "commands"),
        "FAILING": failing,
        "HANGING": hanging,
    }
    return subprocess.Popen(
        [ROOT / "bench" / "gpu.sh", *words],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def states(tmp_path: Path) -> dict[str, str]:
    """Return the steps of the summary with their results."""
    rows = (tmp_path / "out" / "summary.md").read_text().splitlines()[2:]
    return {row.split(" | ")[0].removeprefix("| "): row.split(" | ")[1] for row in rows}


def test_every_step_runs_and_its_results_are_kept(tmp_path: Path) -> None:
    process = script(tmp_path)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    names = [name for steps in STEPS.values() for name in steps]
    assert states(tmp_path) == dict.fromkeys(names, "ok")
    kept = {path.name for path in (tmp_path / "out").iterdir()}
    assert kept == {"summary.md", "logs.tar.gz", *(f"{name}.json" for name in STEPS["bench"])}
    with tarfile.open(tmp_path / "out" / "logs.tar.gz") as archive:
        logs = {name.removeprefix("./") for name in archive.getnames()}
    assert {f"{name}.log" for name in names} | {"gpu.txt"} <= logs
    assert not any(name.endswith("checkpoint.npz") for name in logs)
    assert not list(tmp_path.glob("tmp.*"))  # its temporary folder is gone


def test_tiny_sizes_are_the_same_commands_with_more_options(tmp_path: Path) -> None:
    commands = {}
    for word in ("", "--tiny"):
        folder = tmp_path / f"run{word}"
        folder.mkdir()
        process = script(folder, *[word] * bool(word))
        process.communicate(timeout=60)
        lines = (folder / "commands").read_text().splitlines()
        commands[word] = [re.sub(f"{folder}/(tmp[^/]*)?", "", line).split() for line in lines]
    for full, tiny in zip(*commands.values(), strict=True):
        added = iter(tiny)
        assert full[:3] == tiny[:3]
        assert all(word.isdecimal() or word in added for word in full)  # in this order
    # Without cmp, and with the imports of xdist and NCCL and the number of GPUs.
    assert len(commands[""]) == sum(map(len, STEPS.values())) - 2 + 3


@pytest.mark.parametrize("stage", STEPS)
def test_a_stage_by_its_name(stage: str, tmp_path: Path) -> None:
    process = script(tmp_path, stage)
    process.communicate(timeout=60)
    assert list(states(tmp_path)) == STEPS[stage]


def test_a_failure_is_recorded_and_the_next_steps_run(tmp_path: Path) -> None:
    process = script(tmp_path, "tests", "bench", failing="*float64* *gpu_ops*")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    failed = {name: state for name, state in states(tmp_path).items() if state != "ok"}
    assert failed == {"check64": "FAILED (3)", "gpu_ops": "FAILED (3)"}
    assert list(states(tmp_path)) == STEPS["tests"] + STEPS["bench"]
    assert "out: -m gpucnn check" in output
    assert "err: -m gpucnn check" in output


def test_runs_with_other_bits_are_a_failure(tmp_path: Path) -> None:
    process = script(tmp_path, "tests", failing="*run-again*")
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert states(tmp_path)["same-bits"] == "FAILED (2)"


def test_without_compute_sanitizer_its_steps_are_left_out(tmp_path: Path) -> None:
    process = script(tmp_path, "sanitize", sanitizer=False)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert set(states(tmp_path).values()) == {"compute-sanitizer not found"}


def test_a_signal_ends_the_step_that_runs(tmp_path: Path) -> None:
    process = script(tmp_path, "tests", hanging="*--dtype*")
    file = tmp_path / "commands.pid"
    until = time.monotonic() + 60
    while not (file.exists() and file.read_text().strip()) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)  # the pipe closes when every process has ended
    assert process.returncode == 143
    assert list(states(tmp_path)) == ["doctor", "tests", "check"]


def test_an_unknown_word_is_refused(tmp_path: Path) -> None:
    process = script(tmp_path, "test")
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (
        2,
        "usage: bench/gpu.sh [--tiny] [tests] [bench] [sanitize]\n",
    )
