"""``gpucnn check``: its table, its failures, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from available import BACKENDS, backend_or_skip
from planted.kernels import KERNEL_FAULTS
from planted.kernels_run import planted
from small import save_npz, small_data

from gpucnn.cli.main import run as command


def rows(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    known: dict[str, Any] = json.loads(capsys.readouterr().out)
    return known


@pytest.mark.parametrize("name", BACKENDS)
def test_correct_operations(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    backend_or_skip(name)
    assert command(["check", "relu", "begin_step", "--backend", name]) == 0
    output = capsys.readouterr().out
    assert "layers and losses" in output
    assert output.index("relu") < output.index("training step") < output.index("begin_step")
    mode = (
        ", check mode, forward, reverse and random order of threads" if name == "emulated" else ""
    )
    assert f"{name} backend, float32{mode}: " in output
    assert output.endswith("all 2 operations ok\n")


def test_json_has_a_row_for_each_operation(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["check", "*pool2d", "begin_step", "--backend", "numpy", "--json"]) == 0
    found = rows(capsys)
    assert (found["backend"], found["dtype"]) == ("numpy", "float32")
    by_name = {row["operation"]: row for row in found["operations"]}
    assert list(by_name) == [
        "max_pool2d", "avg_pool2d", "sum_pool2d", "lp_pool2d",
        "adaptive_avg_pool2d", "adaptive_max_pool2d", "begin_step",
    ]  # fmt: skip
    pool, step = by_name["avg_pool2d"], by_name["begin_step"]
    assert pool["ok"]
    assert not pool["plumbing"]
    assert pool["runs"] == 2 * pool["cases"]
    assert 0 < pool["forward_error"] < 1 > pool["backward_error"] > 0
    assert step["plumbing"]
    assert step["backward_error"] is None


def test_a_wrong_kernel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backend_or_skip("emulated")
    (fault,) = (fault for fault in KERNEL_FAULTS if fault.name == "leaky relu has a slope of -7")
    with planted(fault, tmp_path):
        assert command(["check", "leaky_relu", "relu", "--backend", "emulated"]) == 1
        output = capsys.readouterr().out
        assert command(["check", "leaky_relu", "--backend", "emulated", "--fast", "--json"]) == 1
        (row,) = rows(capsys)["operations"]
    assert "wrong: leaky_relu\n" in output
    assert "runs failed, the first in the case '255 elements', forward order of threads" in output
    assert "  kernel: leaky_relu_forward\n  output[2] is 8.39" in output
    line = "from gpucnn.testing import run; run('leaky_relu', '255 elements', backend='emulated'"
    assert f"\n  {line}, order='forward')\n" in output
    first = row["failures"][0]
    assert first["python"] == f"{line})"
    assert first["kernels"] == ["leaky_relu_forward"]
    assert first["difference"]["index"] == [2]
    assert first["difference"]["wrong"] == 116


def test_training_shows_and_changes_the_mode_of_the_emulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    backend_or_skip("emulated")
    from gpucnn import emulator

    monkeypatch.chdir(tmp_path)
    save_npz("small.npz", small_data())
    words = ["train", "--data", "small.npz", "--model", "mlp", "--epochs", "1", "--limit", "16"]
    before = emulator.configure()
    for more, note in (
        ([], "(fast mode; --check finds invalid accesses and races)"),
        (["--check"], "(check mode)"),
    ):
        assert command([*words, "--backend", "emulated", *more]) == 0
        assert note in capsys.readouterr().out
        assert emulator.configure() == before
    assert "check" not in (tmp_path / "runs" / "mlp-small-2" / "config.json").read_text()
    assert command([*words, "--backend", "numpy", "--check"]) == 2
    assert "--check is for --backend emulated, not for numpy" in capsys.readouterr().err


def test_training_in_check_mode_finds_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    backend_or_skip("emulated")
    (fault,) = (fault for fault in KERNEL_FAULTS if "beyond its last row" in fault.name)
    monkeypatch.chdir(tmp_path)
    save_npz("small.npz", small_data())
    words = ["train", "--data", "small.npz", "--model", "mlp", "--epochs", "1", "--limit", "16"]
    with planted(fault, tmp_path):
        assert command([*words, "--backend", "emulated", "--check"]) == 1
    assert "linear_forward_16x32: out of bounds: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["max_pol2d"], "unknown operation 'max_pol2d': did you mean 'max_pool2d'?"),
        (["--only", "relu"], "unknown option '--only'"),
        (["--backend", "numpy", "--fast"], "--fast is for --backend emulated, not for numpy"),
        (["--backend", "numpy", "--precision", "tf32"], "precision"),
        (["--backend", "numpy", "--dtype", "float16"], "float16"),
    ],
)
def test_invalid_options(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["check", *words]) == 2
    assert message in capsys.readouterr().err
