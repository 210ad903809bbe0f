"""Machines without CUDA: the error names what is missing and the command that installs it.

CuPy is simulated, except in the last tests.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from available import backend_or_skip, cupy_or_skip
from cuda_errors import CUDADriverError, CUDARuntimeError
from small import small_data, small_model

from gpucnn import emulator
from gpucnn.backends import choose_backend, get_backend
from gpucnn.backends.cuda import CudaBackend, errors, probe
from gpucnn.data import Split
from gpucnn.emulator.cuda import Device
from gpucnn.errors import BackendError
from gpucnn.training.batches import Batches

Machine = Callable[..., Any]


class DynamicLibNotFoundError(RuntimeError):
    """Has the name of the error of cuda-pathfinder, with which CuPy finds NVRTC."""


class CompileException(Exception):
    """Has the name of CuPy's class."""


class OutOfMemoryError(MemoryError):
    """Has the name of CuPy's class, which is a MemoryError, too."""


def fail(error: BaseException) -> Callable[..., Any]:
    def raise_(*_: Any, **__: Any) -> Any:
        raise error

    return raise_


class Cupy(SimpleNamespace):
    """A CuPy on a machine where everything works, except for what the arguments change."""

    ndarray = np.ndarray

    def __init__(
        self,
        devices: Callable[[], int] = lambda: 1,
        compile: Callable[[str], Any] | None = None,
        allocate: Callable[..., Any] = np.zeros,
        value: int = 42,
    ) -> None:
        runtime = SimpleNamespace(
            getDeviceCount=devices,
            CUDARuntimeError=CUDARuntimeError,
            memGetInfo=lambda: (300 * 2**20, 2**30),
        )

        def run(grid: Any, block: Any, arguments: Any) -> None:
            arguments[0][...] = value

        super().__init__(
            cuda=SimpleNamespace(runtime=runtime, Device=Device),
            RawModule=lambda **_: SimpleNamespace(get_function=compile or (lambda name: run)),
            empty=allocate,
            zeros=allocate,
            asarray=np.asarray,
            asnumpy=np.asarray,
        )


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """Simulate a machine: CuPy or the error of its import, the installed wheels, the driver."""
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "kernel_cache"))

    def pretend(
        cupy: Any = None,
        wheels: tuple[str, ...] = ("cupy-cuda12x",),
        driver: int | None = 12080,
    ) -> Any:
        real = importlib.import_module

        def import_module(name: str, package: str | None = None) -> Any:
            if name != "cupy":
                return real(name, package)
            if isinstance(cupy, BaseException):
                raise cupy
            return cupy

        folder = tmp_path / " ".join(["packages", *wheels])
        for name in ("numpy", *wheels):
            metadata = f"{name.replace('-', '_')}-14.2.0.dist-info"
            (folder / metadata).mkdir(parents=True, exist_ok=True)
        missing = str(tmp_path / "missing.zip")
        system = SimpleNamespace(path=[missing, str(folder)], platform=sys.platform)
        monkeypatch.setattr(probe, "sys", system)
        monkeypatch.setattr(probe.importlib, "import_module", import_module)
        monkeypatch.setattr(probe, "driver_version", lambda: driver)
        return cupy

    return pretend


def error_of(code: str) -> CUDARuntimeError:
    return CUDARuntimeError(f"{code}: what the driver says")


LINE_12, LINE_13 = "pip install 'gpucnn[cuda12]'", "pip install 'gpucnn[cuda13]'"
HEADERS = CompileException(
    "/tmp/x.cubin.cu(1): catastrophic error: cannot open source file "
    '"cuda_runtime.h"\n\n1 catastrophic error'
)
ABSENT = ModuleNotFoundError("No module named 'cupy'")

# What is wrong: (the machine, what the message says, how it ends).
FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no CuPy": ({"cupy": ABSENT, "wheels": ()}, "CuPy is not installed", LINE_12),
    "no CuPy, newer driver": (
        {"cupy": ABSENT, "wheels": (), "driver": 13000},
        "CuPy is not installed",
        LINE_13,
    ),
    "no CuPy, no driver": (
        {"cupy": ABSENT, "wheels": (), "driver": None},
        "CuPy is not installed",
        LINE_12,
    ),
    "two wheels": (
        {"cupy": Cupy(), "wheels": ("cupy-cuda13x", "cupy-cuda12x")},
        "cupy-cuda12x and cupy-cuda13x are both installed and conflict: "
        "pip uninstall cupy-cuda12x cupy-cuda13x, then",
        LINE_12,
    ),
    "CuPy cannot be imported": (
        {"cupy": ImportError("libcudart.so.12: cannot open\nshared object file")},
        "CuPy cannot be imported (ImportError: libcudart.so.12: cannot open)",
        LINE_12,
    ),
    "no driver": ({"cupy": Cupy(), "driver": None}, "no NVIDIA driver is installed", "NVIDIA GPU"),
    "driver too old": (
        {"cupy": Cupy(fail(error_of("cudaErrorInsufficientDriver"))), "driver": 11040},
        "the NVIDIA driver is too old for cupy-cuda12x: update the driver, or",
        LINE_12,
    ),
    "no GPU": (
        {"cupy": Cupy(fail(error_of("cudaErrorNoDevice")))},
        "no usable GPU: CUDARuntimeError: cudaErrorNoDevice",
        "",
    ),
    "no GPU, counted": ({"cupy": Cupy(lambda: 0)}, "no NVIDIA GPU was found", ""),
    "no NVRTC": (
        {"cupy": Cupy(compile=fail(DynamicLibNotFoundError("libnvrtc.so.12")))},
        "NVRTC, CUDA's compiler, is missing (DynamicLibNotFoundError: libnvrtc.so.12)",
        LINE_12,
    ),
    "no headers": (
        {"cupy": Cupy(compile=fail(HEADERS))},
        'cannot open source file "cuda_runtime.h"',
        LINE_12,
    ),
    "a compiler that dies": (
        {"cupy": Cupy(compile=fail(OSError("x" * 500)))},
        "no kernel runs (OSError: xxx",
        LINE_12,
    ),
    "no memory at all": (
        {"cupy": Cupy(allocate=fail(error_of("cudaErrorMemoryAllocation")))},
        "the GPU has no free memory (CUDARuntimeError: cudaErrorMemoryAllocation",
        "which nvidia-smi lists",
    ),
    "a kernel that runs wrong": (
        {"cupy": Cupy(value=41)},
        "a kernel that writes 42 wrote 41: check",
        "",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_error_names_what_is_missing_in_one_line(fault: str, machine: Machine) -> None:
    pretended, says, ends = FAULTS[fault]
    machine(**pretended)
    with pytest.raises(BackendError) as raised:
        get_backend("cuda")
    message = str(raised.value)
    assert says in message
    assert message.endswith(ends)
    assert "\n" not in message
    assert len(message) < 300


@pytest.mark.parametrize("fault", FAULTS)
def test_auto_is_numpy_with_the_reason(fault: str, machine: Machine) -> None:
    pretended, _, _ = FAULTS[fault]
    machine(**pretended)
    backend, reason = choose_backend()
    assert backend.name == "numpy"
    assert get_backend("auto").name == "numpy"
    assert reason.startswith("CUDA is not available: ")
    assert "\n" not in reason
    with pytest.raises(BackendError) as raised:
        get_backend("cuda")
    assert str(raised.value) in reason


def test_auto_is_cuda_if_a_kernel_runs(machine: Machine) -> None:
    cupy = machine(Cupy())
    assert probe.import_cupy() is cupy
    backend, reason = choose_backend("float64")
    assert (backend.name, backend.dtype) == ("cuda", np.float64)
    assert reason == "a kernel compiled and ran on the GPU"


@pytest.mark.parametrize("name", ["cupy", "CuPy-CUDA12x", "cupy-cuda13x", "cupy-cuda11x"])
def test_wheels_of_cupy_by_any_name(name: str, machine: Machine) -> None:
    machine(wheels=(name, "cupyx-tools", "cupy_helper"))
    assert probe.installed_wheels() == [name.lower()]


def test_the_wheels_are_those_of_the_metadata() -> None:
    names = {str(found.metadata["Name"]).lower() for found in metadata.distributions()}
    provide = {name for name in names if name == "cupy" or name.startswith("cupy-cuda")}
    assert set(probe.installed_wheels()) == provide


# --- the cache of compiled kernels --------------------------------------------------------------


def test_a_writable_cache_is_kept(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine(Cupy())
    probe.import_cupy()
    assert os.environ["CUPY_CACHE_DIR"] == str(tmp_path / "kernel_cache")
    assert not list((tmp_path / "kernel_cache").iterdir())
    monkeypatch.delenv("CUPY_CACHE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    probe.import_cupy()
    assert "CUPY_CACHE_DIR" not in os.environ


@pytest.mark.parametrize("named", [True, False])
def test_without_a_writable_cache_a_temporary_one_is_used(
    named: bool, machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file in place of the folder: permissions would not stop root."""
    (tmp_path / "home").touch()
    if named:
        monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "home" / "cache"))
    else:
        monkeypatch.delenv("CUPY_CACHE_DIR")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setattr(probe.tempfile, "tempdir", str(tmp_path))
    machine(Cupy())
    probe.import_cupy()
    folder = Path(os.environ["CUPY_CACHE_DIR"])
    assert folder.is_dir()
    assert folder.parent == tmp_path
    assert folder.name.startswith("gpucnn-cupy-")
    monkeypatch.delenv("CUPY_CACHE_DIR")


def test_an_empty_name_of_the_cache_is_none(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """CuPy would create a folder without a name, and end with [Errno 2]."""
    monkeypatch.setenv("CUPY_CACHE_DIR", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    machine(Cupy())
    probe.import_cupy()
    assert "CUPY_CACHE_DIR" not in os.environ
    assert (tmp_path / "home" / ".cupy" / "kernel_cache").is_dir()


def test_without_any_writable_folder_cuda_is_not_available(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "home").touch()
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "home" / "cache"))
    monkeypatch.setattr(probe.tempfile, "mkdtemp", fail(FileNotFoundError(2, "no temporary")))
    machine(Cupy())
    with pytest.raises(BackendError, match=r"set CUPY_CACHE_DIR to a folder that can$"):
        probe.import_cupy()
    assert choose_backend()[0].name == "numpy"


# --- memory -------------------------------------------------------------------------------------


def test_out_of_memory_names_requested_and_free_memory() -> None:
    full = Cupy(allocate=fail(OutOfMemoryError("Out of memory allocating 5 bytes")))
    backend = CudaBackend(full)
    for allocate in (backend.empty, backend.zeros):
        with pytest.raises(BackendError) as raised:
            allocate((1024, 1024, 500))
        assert str(raised.value) == (
            "out of memory: 2,000 MiB requested, 300 MiB free; "
            "try half the batch size (--batch-size)"
        )
    full.asarray = fail(OutOfMemoryError())
    with pytest.raises(BackendError, match=r"^out of memory: 8 MiB requested, 300 MiB free"):
        backend.asarray(np.zeros((1024, 2048)))


def test_images_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A smaller batch would not help."""
    model = small_model()
    model.to(backend_or_skip("emulated"))
    model.normalization = small_data().statistics()
    monkeypatch.setattr(emulator, "empty", fail(OutOfMemoryError()))
    images = np.zeros((20_000, 1, 8, 8), np.uint8)
    with pytest.raises(BackendError) as raised:
        Batches(model, Split(images, np.zeros(len(images), np.int64)), 10)
    assert re.fullmatch(
        r"out of memory: 1 MiB requested, [\d,]+ MiB free for 20,000 images; "
        r"use fewer or smaller ones \(--limit, --resize\), or gpucnn pack: packed images are "
        r"read while training",
        str(raised.value),
    )


def test_large_arrays_are_uploaded_from_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy's asarray keeps page-locked memory of the next power of two; and its kernel sets 0-d."""
    staged = []

    def asarray(array: Any) -> Any:
        staged.append(array.shape)
        return emulated_asarray(array)

    emulated_asarray = emulator.asarray
    monkeypatch.setattr(emulator, "asarray", asarray)
    backend = backend_or_skip("emulated")
    rng = np.random.default_rng(0)
    for shape in ((), (3,), (2**20,), (2**20 + 1,), (2, 3 * 2**19 + 1)):
        host = rng.integers(0, 256, shape, np.uint8)
        device = backend.asarray(host, np.uint8)
        assert device.shape == shape
        np.testing.assert_array_equal(backend.to_numpy(device), host)
    turned = rng.integers(0, 256, (1025, 1025), np.uint8).T
    np.testing.assert_array_equal(backend.to_numpy(backend.asarray(turned, np.uint8)), turned)
    assert staged == [(1,), (3,), (2**20,)]


def test_outputs_that_do_not_fit() -> None:
    """In allocations of an operation as well."""
    roomy = Cupy()
    backend = CudaBackend(roomy)
    x, w = backend.zeros((4, 3, 256, 256)), backend.zeros((8, 3, 1, 1))
    roomy.empty = fail(OutOfMemoryError())
    for run in (lambda: backend.relu(x), lambda: backend.conv2d(x, w)):
        with pytest.raises(BackendError, match=r"^out of memory: \d+ MiB requested"):
            run()


# --- errors of kernels --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered", True),
        ("cudaErrorIllegalAddress: an illegal memory access was encountered", True),
        ("cudaErrorLaunchFailure: unspecified launch failure", True),
        ("CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure", True),
        ("cudaErrorAssert: device-side assert triggered", True),
        ("CUDA_ERROR_NO_BINARY_FOR_GPU: no kernel image is available", False),
        ("cudaErrorMemoryAllocation: out of memory", False),
        ("cudaErrorStreamCaptureUnsupported: operation not permitted", False),
        ("cudaErrorLaunchOutOfResources: too many resources requested for launch", False),
    ],
)
def test_faults_of_earlier_kernels_are_told_from_refused_calls(text: str, fault: bool) -> None:
    for kind in (CUDARuntimeError, CUDADriverError):
        assert errors.is_kernel_fault(kind(text)) == fault
        assert errors.device_error(kind(text + "\nsecond line")) == text
    assert not errors.is_kernel_fault(RuntimeError(text))
    assert errors.device_error(RuntimeError(text)) is None


# --- the real CuPy ------------------------------------------------------------------------------


NAMES = [
    "RawModule",
    "asarray",
    "asnumpy",
    "empty",
    "ndarray",
    "ndarray.device",
    "ndarray.flags",
    "ndarray.reshape",
    "zeros",
    "cuda.Device",
    "cuda.Event",
    "cuda.MemoryPool.free_all_blocks",
    "cuda.MemoryPool.malloc",
    "cuda.MemoryPool.set_limit",
    "cuda.Stream.begin_capture",
    "cuda.get_allocator",
    "cuda.get_elapsed_time",
    "cuda.using_allocator",
    "cuda.get_current_stream",
    "cuda.nvrtc.getVersion",
    "cuda.runtime.CUDARuntimeError",
    "cuda.runtime.getDevice",
    "cuda.runtime.getDeviceCount",
    "cuda.runtime.getDeviceProperties",
    "cuda.runtime.memGetInfo",
    "cuda.runtime.runtimeGetVersion",
    "RawModule.get_function",
]


@pytest.mark.parametrize("name", NAMES)
def test_cupy_has_the_names_that_are_used(name: str) -> None:
    found = cupy_or_skip()
    for part in name.split("."):
        found = getattr(found, part)
    assert found is not None


def test_the_emulator_has_what_the_backend_uses() -> None:
    emulator = importlib.import_module("gpucnn.emulator")
    for name in NAMES:
        if "runtime" in name or "nvrtc" in name:
            continue  # for probing alone
        found: Any = emulator
        for part in name.split("."):
            found = getattr(found, part)


def test_cupys_out_of_memory_error_is_a_memory_error() -> None:
    assert issubclass(cupy_or_skip().cuda.memory.OutOfMemoryError, MemoryError)


def test_without_a_gpu_the_real_cupy_is_refused() -> None:
    """CuPy can be imported without a driver, so that only a kernel shows whether it works."""
    cupy = cupy_or_skip()
    if probe.driver_version() is not None:
        pytest.skip("there is a driver")
    assert cupy.cuda.is_available() is False
    assert "cupy" in sys.modules
    with pytest.raises(BackendError, match=r"^no NVIDIA driver is installed: CUDA needs one"):
        get_backend("cuda")
    assert get_backend("auto").name == "numpy"
