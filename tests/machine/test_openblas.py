"""OpenBLAS's environment variables: set by the command line before NumPy is loaded, no import."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
from threadpoolctl import threadpool_info

from gpucnn.machine import openblas, processor

AVX512 = "fpu avx2 fma avx512f avx512cd avx512bw avx512dq avx512vl"


def fake_processor(monkeypatch: pytest.MonkeyPatch, vendor: str, flags: str) -> None:
    cpuinfo = {"vendor_id": vendor, "flags": flags}
    monkeypatch.setattr(processor, "cpuinfo", cpuinfo.__getitem__)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


@pytest.mark.parametrize(
    ("vendor", "flags", "kernels"),
    [
        ("AuthenticAMD", AVX512, "SkylakeX"),
        ("AuthenticAMD", AVX512.replace(" avx512vl", ""), None),
        ("AuthenticAMD", "fpu avx2 fma", None),
        ("GenuineIntel", AVX512, None),
        ("", "", None),
    ],
)
def test_avx512_kernels_are_chosen_where_openblas_would_not(
    monkeypatch: pytest.MonkeyPatch, vendor: str, flags: str, kernels: str | None
) -> None:
    fake_processor(monkeypatch, vendor, flags)
    environment: dict[str, str] = {}
    openblas.prepare(environment)
    assert environment.get(openblas.KERNELS) == kernels
    assert environment[openblas.THREADS] == "1"


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_processor(monkeypatch, "AuthenticAMD", AVX512)
    environment = {openblas.KERNELS: "Haswell", openblas.THREADS: "3"}
    openblas.prepare(environment)
    assert environment == {openblas.KERNELS: "Haswell", openblas.THREADS: "3"}


def test_other_architectures_have_no_avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_processor(monkeypatch, "AuthenticAMD", AVX512)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert not processor.has_avx512()


def python(code: str, **variables: str) -> str:
    """What ``code`` prints in a process that has ``variables`` and neither of OpenBLAS's two."""
    own = (openblas.THREADS, openblas.KERNELS)
    environment = {name: value for name, value in os.environ.items() if name not in own}
    command = [sys.executable, "-c", code]
    environment |= variables
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_gpucnn_sets_no_variable() -> None:
    show = "print([name for name in os.environ if 'OPENBLAS' in name])"
    assert python(f"import gpucnn.models, gpucnn.training.fit, os; {show}") == "[]"


def test_the_command_sets_them_before_numpy_is_loaded() -> None:
    help = "import sys; from gpucnn.__main__ import main\ntry: main(['--help'])\nfinally: "
    assert python(f"{help}print('numpy' in sys.modules)").endswith("\nFalse")


def test_doctor_reports_the_kernels_and_threads_in_use() -> None:
    blas = [library for library in threadpool_info() if library["user_api"] == "blas"]
    if not blas or blas[0]["internal_api"] != "openblas" or platform.machine() != "x86_64":
        pytest.skip("NumPy does not use OpenBLAS for x86-64")
    report = python(
        "from gpucnn.__main__ import main; main(['doctor'])", OPENBLAS_CORETYPE="Nehalem"
    )
    assert ", Nehalem kernels, 1 thread\n" in report
