"""The environment variables of the stand-in."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.cuda

TRY = """
for call in ({}):
    try:
        print(call())
    except Exception as error:
        print(str(error).split(":")[0])
"""


def attempt(*calls: str) -> str:
    """Return code that prints for each expression its value, or the name of its error."""
    return TRY.format("".join(f"lambda: {call}, " for call in calls))


COUNT = "cupy.cuda.runtime.getDeviceCount()"
MALLOC = "cupy.cuda.runtime.malloc(512) > 0"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("STANDIN_MODE", "lazy", "eager, late or mixed"),
        ("STANDIN_TRACE", "yes", "0 or 1"),
        ("STANDIN_DEVICE", "2", "one of STANDIN_MODE, _TRACE, _DEVICES, "),
        ("STANDIN_CAPABILITY", "90", "a compute capability such as 9.0"),
        ("STANDIN_CAPABILITY", "9.0a", "a compute capability such as 9.0"),
        ("STANDIN_MEMORY_MIB", "0", "a number of MiB, at least 1"),
        ("STANDIN_MEMORY_MIB", "8GiB", "a number of MiB, at least 1"),
        ("STANDIN_DEVICES", "-1", "a number of devices from 0 to 16"),
        ("STANDIN_DEVICES", "17", "a number of devices from 0 to 16"),
        ("STANDIN_DRIVER_VERSION", "11.4", "a version of CUDA such as 11040 for 11.4"),
        ("STANDIN_FAIL", "cudaMalloc", "function:call=error, such as cudaMalloc:3=2; a + after"),
        ("STANDIN_FAIL", "cudaMaloc:1", "a function of CUDA that the stand-in has"),
        ("STANDIN_FAIL", "cudaMalloc:0", "calls to be counted from 1"),
        ("STANDIN_FAIL", "cudaMalloc:1=0", "an error number of CUDA, not 0"),
    ],
)
def test_a_bad_value_ends_the_process_with_one_line(name, value, expected, run_python):
    code = "import ctypes; ctypes.CDLL('libcuda.so.1').cuInit(0)"
    done = run_python(code, **{name: value})
    assert done.returncode == 2
    assert done.stderr.startswith(f"stand-in: {name}={value}: expected {expected}")
    assert len(done.stderr.splitlines()) == 1


def test_a_bad_value_shows_when_cupy_is_imported(script):
    assert script("print('here')", STANDIN_MODE="lazy").returncode == 2


def test_empty_values_are_the_defaults(script):
    names = ["MODE", "TRACE", "CAPABILITY", "MEMORY_MIB", "DEVICES", "DRIVER_VERSION", "FAIL"]
    device = "cupy.cuda.Device()"
    code = attempt(COUNT, f"{device}.compute_capability", "cupy.cuda.runtime.memGetInfo()[1]")
    done = script(code, **{f"STANDIN_{name}": "" for name in names})
    assert (done.stdout.split(), done.stderr) == (["1", "90", str(8192 << 20)], "")


def test_capability_and_memory(script):
    code = attempt(
        "cupy.cuda.Device().compute_capability",
        "cupy.cuda.runtime.memGetInfo()",
        "cupy.cuda.runtime.malloc(1 << 20) > 0",
        "cupy.cuda.runtime.malloc(1)",
    )
    done = script(code, STANDIN_CAPABILITY="12.1", STANDIN_MEMORY_MIB="1")
    memory = str((1 << 20, 1 << 20))
    assert done.stdout.splitlines() == ["121", memory, "True", "cudaErrorMemoryAllocation"]


def test_no_device(script):
    done = script(attempt(COUNT, MALLOC), STANDIN_DEVICES="0")
    assert done.stdout.split() == ["cudaErrorNoDevice", "cudaErrorNoDevice"]


@pytest.mark.parametrize("version", ["11040", "12000", "13000"])
def test_a_driver_of_an_older_major_version_is_insufficient(version, script):
    done = script(
        attempt("cupy.cuda.runtime.driverGetVersion()", COUNT, MALLOC),
        STANDIN_DRIVER_VERSION=version,
    )
    refused = ["cudaErrorInsufficientDriver", "cudaErrorInsufficientDriver"]
    assert done.stdout.split() == [version, *(refused if version < "12" else ["1", "True"])]


def test_a_call_fails_when_it_is_to(script):
    done = script(
        attempt(*[MALLOC] * 4, "cupy.cuda.Stream() is None", "cupy.cuda.Stream() is None"),
        STANDIN_FAIL="cudaMalloc:2=2,cudaMalloc:4=35,cudaStreamCreateWithPriority:2+",
    )
    assert done.stdout.split() == [
        *("True", "cudaErrorMemoryAllocation", "True", "cudaErrorInsufficientDriver"),
        *("False", "cudaErrorUnknown"),
    ]


def test_a_failure_of_a_kind_that_sticks_sticks(script):
    code = attempt("cupy.cuda.Device().synchronize()", MALLOC)
    done = script(code, STANDIN_FAIL="cudaDeviceSynchronize:1=719")
    assert done.stdout.split() == ["cudaErrorLaunchFailure", "cudaErrorLaunchFailure"]


def test_functions_of_the_driver_and_of_nvrtc_fail_too(script):
    code = "code = 'extern \"C\" __global__ void nothing() {}'\n" + attempt(
        *["cupy.RawModule(code=code).get_function('nothing')((1,), (1,), ())"] * 3
    )
    done = script(code, STANDIN_FAIL="nvrtcCreateProgram:1=1,cuLaunchKernel:1=701")
    assert done.stdout.splitlines() == [
        *("NVRTC_ERROR_OUT_OF_MEMORY (1)", "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "None"),
    ]


def exported(library: str) -> list[str]:
    """Return the functions of CUDA that a library exports, except those that describe errors."""
    path = Path(__file__).parent / "build" / library
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True
    ).stdout
    names = re.findall(r" T ((?:cuda|cu|nvrtc)[A-Z]\w+)$", listing, re.MULTILINE)
    return [name for name in names if not re.search("GetErrorName|GetErrorString|LastError", name)]


@pytest.mark.parametrize(("library", "count"), [("libcuda.so.1", 119), ("libnvrtc.so.12", 14)])
def test_every_function_that_returns_an_error_can_fail(library, count, run_python):
    """They look at STANDIN_FAIL first, whatever their arguments are."""
    names = exported(library)
    assert len(names) >= count
    code = (
        f"import ctypes; library = ctypes.CDLL('{library}')\n"
        f"print(*[name for name in {names} if getattr(library, name)(*[None] * 11) != 999])\n"
    )
    done = run_python(code, STANDIN_FAIL=",".join(f"{name}:1+=999" for name in names))
    assert (done.stdout.split(), done.stderr, done.returncode) == ([], "", 0)


def test_the_trace_names_calls_errors_and_the_sizes_of_graphs(script):
    done = script(
        "x, stream = cupy.zeros(4), cupy.cuda.Stream(non_blocking=True)\n"
        "stream.begin_capture()\n"
        "x.data.memset_async(0, 8, stream)\n"
        "x.data.memset_async(1, 8, stream)\n"
        "stream.end_capture()\n" + attempt("stream.end_capture()"),
        STANDIN_TRACE="1",
    )
    for line in (
        "stand-in: cudaStreamBeginCapture",
        "stand-in: a graph of 2 nodes",
        "stand-in: cudaStreamEndCapture: cudaErrorIllegalState",
    ):
        assert line in done.stderr.splitlines()


def test_a_function_that_is_not_written_fails_by_name(script):
    done = script(attempt("cupy.cuda.runtime.mallocManaged(64)"))
    assert done.stdout.split() == ["cudaErrorNotSupported"]
    assert done.stderr == "stand-in: cudaMallocManaged is not written\n"
