"""How a process finds out that it was started with others, and what it then needs."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from small import save_npz, small_data, small_model

from gpucnn import rbm, training
from gpucnn.cli import run
from gpucnn.errors import SettingError
from gpucnn.machine.launch import Launch, find_launch
from gpucnn.training import make_group
from gpucnn.training.fit import fit
from gpucnn.training.processes import choice
from gpucnn.training.processes.group import Alone


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, None),
        ({"PMI_SIZE": "4", "PMI_RANK": "3"}, Launch(4, 3)),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}, Launch(2, 0)),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5"}, Launch(8, 5)),
        ({"PMI_SIZE": "1", "PMI_RANK": "0"}, None),
        ({"PMI_SIZE": "4", "PMI_RANK": "4"}, None),
        ({"PMI_SIZE": "4", "PMI_RANK": "x"}, None),
        # The script of a Slurm job is one process, whatever its steps have.
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, None),
    ],
)
def test_what_started_a_process_is_in_its_environment(
    environ: dict[str, str], wanted: Launch | None
) -> None:
    assert find_launch(environ) == wanted


def test_an_ordinary_run_needs_no_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)  # importing it would fail
    monkeypatch.setattr(choice, "find_launch", lambda: None)
    assert isinstance(make_group(), Alone)
    with pytest.raises(SettingError, match="unknown group 'mpl': did you mean 'mpi'"):
        make_group("mpl")


def test_several_processes_without_mpi4py_do_not_train_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_npz(tmp_path / "small.npz", small_data())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.setitem(sys.modules, "gpucnn.training.processes.mpi", None)
    monkeypatch.setattr(choice, "find_launch", lambda: Launch(4, 2))
    words = [
        "train",
        "--data",
        "small.npz",
        "--model",
        "mlp",
        "--epochs",
        "1",
        "--backend",
        "numpy",
    ]
    assert run(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("gpucnn: 4 processes were started together, and need mpi4py and MPI")
    assert "pip install 'gpucnn[mpi]'" in error
    assert not (tmp_path / "runs").exists()
    assert run([*words, "--group", "alone", "--workers", "1"]) == 0


@pytest.mark.skipif(find_spec("mpi4py") is None, reason="mpi4py is not installed")
def test_an_mpi_that_did_not_start_the_processes_is_refused() -> None:
    program = (
        "from gpucnn.training.processes import choice\n"
        "from gpucnn.machine.launch import Launch\n"
        "choice.find_launch = lambda: Launch(4, 2)\n"
        "try:\n    choice.make_group()\n"
        "except ValueError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "4 processes were started together, but MPI finds 1: start them by" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
@pytest.mark.parametrize("launched", [True, False])
def test_a_rank_that_is_stopped_before_mpi_starts_dies_by_the_signal(launched: bool) -> None:
    """Others would wait for it: mpiexec ends them after a signal, not after an exit."""
    rank = "os.environ['PMI_RANK'] = '0'" if launched else "os.environ.pop('PMI_RANK', None)"
    program = f"import os\n{rank}\nfrom gpucnn.__main__ import _leave\n_leave(15, None)\n"
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=60)
    assert done.returncode == (-15 if launched else 143)


@pytest.mark.parametrize(("rank", "lines"), [("0", 1), ("1", 0)])
def test_commands_that_do_not_share_their_work_are_refused_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rank: str, lines: int
) -> None:
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setenv("PMI_RANK", rank)
    assert run(["summary", "lenet5"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", lines)
    assert not lines or "gpucnn summary is run by one: start it without mpiexec" in err
    assert run(["doctor"]) == 0
    capsys.readouterr()
    assert run(["summary", "--nonsense"]) == 2
    assert capsys.readouterr().err.count("\n") == lines


@pytest.mark.parametrize("rank", ["0", "1"])
def test_processes_that_train_by_themselves_are_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, rank: str
) -> None:
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setenv("PMI_RANK", rank)
    data = small_data()
    calls: list[Callable[[], object]] = [
        lambda: fit(small_model(), data, epochs=1, progress=False),
        lambda: list(training.events(small_model(), data, epochs=1)),
        lambda: rbm.fit(rbm.RBM((1, 8, 8), hidden=4), data, epochs=1, progress=False),
    ]
    for call in calls:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        found = [(one.category, one.filename) for one in caught]
        assert found == [(RuntimeWarning, __file__)] * (rank == "0")
        for one in caught:
            assert str(one.message).startswith("2 processes were started together, and each trains")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(small_model(), data, epochs=1, progress=False, group=make_group("alone"))
