"""OpenBLAS's settings: chosen by the command line before NumPy is there, never by an import."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gpucnn.machine import openblas, processor

AVX512 = "fpu avx2 fma avx512f avx512cd avx512bw avx512dq avx512vl"


def play(monkeypatch: pytest.MonkeyPatch, vendor: str, flags: str) -> None:
    said = {"vendor_id": vendor, "flags": flags}
    monkeypatch.setattr(processor, "says", said.__getitem__)
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
    play(monkeypatch, vendor, flags)
    environment: dict[str, str] = {}
    openblas.prepare(environment)
    assert environment.get(openblas.KERNELS) == kernels
    assert environment[openblas.THREADS] == "1"


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, "AuthenticAMD", AVX512)
    environment = {openblas.KERNELS: "Haswell", openblas.THREADS: "3"}
    openblas.prepare(environment)
    assert environment == {openblas.KERNELS: "Haswell", openblas.THREADS: "3"}


def test_other_architectures_have_no_avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, "AuthenticAMD", AVX512)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert not processor.has_avx512()


def child(code: str) -> str:
    own = (openblas.THREADS, openblas.KERNELS)
    environment = {name: value for name, value in os.environ.items() if name not in own}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_an_import_changes_no_setting_and_no_numpy_comes_with_the_choice() -> None:
    shown = "print(*[n for n in os.environ if 'OPENBLAS' in n])"
    assert child(f"import gpucnn.models, gpucnn.training.fit, os; {shown}").strip() == ""
    loaded = child("import gpucnn.__main__, sys; print('numpy' in sys.modules)")
    assert loaded.strip() == "False"


def test_the_choice_reaches_openblas() -> None:
    show = "import numpy; print(openblas.in_use())"
    if child(f"from gpucnn.machine import openblas; {show}") == "None\n":
        pytest.skip("this NumPy does not use OpenBLAS, or the system does not tell")
    said = child(
        f"import os; from gpucnn.machine import openblas; openblas.prepare(os.environ); {show}"
    )
    assert said.strip().endswith(", 1)"), said


def test_doctor_says_what_is_in_use() -> None:
    said = child("from gpucnn.__main__ import main; main(['doctor'])")
    in_use = openblas.in_use()
    assert in_use is None or " kernels, 1 thread" in said
