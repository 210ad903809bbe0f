"""The stand-in and the emulator of gpucnn: settings, and versions that do not fit together."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.cuda


def use_library(path: str) -> str:
    """Return code that lets the stand-in load another library as the emulator's."""
    return (
        "import standin_bridge\n"
        f"standin_bridge.begin = lambda *_: (True, b'0 0 1 {path}')\n"
        "import cupy\n"
        "cupy.zeros(4)\n"
    )


def test_the_sitecustomize_of_the_environment_runs_too(tmp_path, run_python):
    (tmp_path / "sitecustomize.py").write_text("print('the next one')\n")
    path = os.pathsep.join([os.environ["PYTHONPATH"], str(tmp_path)])
    done = run_python("import cupy; print(cupy.zeros(1))", PYTHONPATH=path)
    assert done.stdout.splitlines() == ["the next one", "[0.]"]


AGAIN = "it was built for another version of gpucnn: run tests/standin/setup PYTHON again"


def test_an_emulator_with_other_structures_is_refused(tmp_path, run_python):
    source, library = tmp_path / "other.c", tmp_path / "other.so"
    functions = "allocate", "release", "mark_written", "launch"
    source.write_text(
        "#include <stddef.h>\n"
        + "".join(f"void gpu_{name}(void) {{}}\n" for name in functions)
        + "const size_t gpu_struct_sizes[] = {1, 2, 3, 4, 5, 6};\n"
    )
    compiler = shutil.which("g++") or "cc"
    subprocess.run([compiler, "-x", "c", "-shared", "-fPIC", source, "-o", library], check=True)
    done = run_python(use_library(str(library)))
    assert done.stderr.startswith(f"stand-in: {AGAIN}\n")
    assert "cudaErrorInitializationError" in done.stderr


def test_a_library_without_the_emulators_functions_is_refused(run_python):
    done = run_python(use_library("libm.so.6"))
    assert done.stderr.startswith(f"stand-in: {AGAIN}\n")


def test_the_reason_is_printed_where_the_emulator_cannot_run(script):
    done = script("cupy.zeros(4)", CXX="/no/compiler", GPUCNN_CACHE_DIR="/proc/none")
    assert done.stderr.startswith("stand-in: the emulator cannot run: ")
    assert "cudaErrorInitializationError" in done.stderr


def test_an_interrupt_while_a_kernel_is_compiled_is_raised(script):
    done = script(
        "import standin_bridge\n"
        "def compile(*_):\n"
        "    raise KeyboardInterrupt\n"
        "standin_bridge.compile = compile\n"
        "cupy.RawModule(code=SOURCE + '// never compiled').compile()\n"
    )
    assert "KeyboardInterrupt" in done.stderr.splitlines()[-1]
    assert done.returncode != 0


def test_check_mode_knows_the_arrays_of_cupys_own_kernels(script):
    code = """
shift = cupy.RawKernel(
    'extern "C" __global__ void shift(float* x, const float* y) '
    '{ x[threadIdx.x] = y[threadIdx.x + 1]; }', "shift")
x, y, part = cupy.zeros(128, np.float32), cupy.empty(128, np.float32), cupy.ones((8, 32))
y[...] = 1
part.T[...] = part.T.copy()
part[::-1, ::-2] = part[:, :16] * 1
shift((1,), (127,), (x, y))
print(cupy.asnumpy(x).sum(), cupy.asnumpy(part).sum(), flush=True)
shift((1,), (128,), (x, y))
cupy.cuda.Device().synchronize()
"""
    done = script(code, GPUCNN_EMULATOR="check")
    assert done.stdout == "127.0 256.0\n"
    assert "stand-in: shift: out of bounds: " in done.stderr
