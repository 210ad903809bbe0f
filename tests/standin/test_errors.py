"""Faults, which every later call returns; the last error of a thread; other processes."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.cuda

BEGIN = """
runtime = cupy.cuda.runtime

def check(call):
    try:
        call()
        print("done")
    except Exception as error:
        print(str(error).split(":")[0])

kernel = cupy.RawModule(code=SOURCE, options=("--std=c++17",)).get_function("scale")

def scale(pointer, **options):
    kernel((1,), (1,), (np.intp(pointer), np.float32(1), np.int32(1)), **options)
"""
FAULT = "cudaErrorIllegalAddress"


def test_a_fault_is_reported_later_and_by_every_call_after_it(script):
    done = script(
        f"{BEGIN}"
        "check(lambda: scale(16))\n"
        "check(runtime.deviceSynchronize)\n"
        "check(lambda: runtime.malloc(64))\n"
        "check(lambda: scale(cupy.zeros(1).data.ptr))\n"
        "check(lambda: runtime.free(0))\n"
        "check(lambda: runtime.getDevice())\n"
    )
    assert done.stdout.split() == ["done", FAULT, FAULT, FAULT, FAULT, "done"]
    message = "stand-in: kernel scale received a pointer to memory that CUDA did not allocate"
    assert message in done.stderr.splitlines()


def test_memory_of_the_host_is_an_illegal_address(script):
    done = script(
        f"{BEGIN}"
        "x, pinned = np.ones(4, np.float32), cupy.cuda.alloc_pinned_memory(64)\n"
        "end = cupy.cuda.runtime.malloc(512) + 512\n"
        "kernel((1,), (1,), (np.intp(end), np.float32(1), np.int32(0)))  # an empty array\n"
        "scale(pinned.ptr)\n"
        "check(runtime.deviceSynchronize)\n"
        "scale(x.ctypes.data)\n"
        "check(runtime.deviceSynchronize)\n"
    )
    assert done.stdout.split() == ["done", FAULT]


@pytest.mark.parametrize(
    ("work", "name"),
    [
        ("scale(pointer, stream=stream)", "kernel scale"),
        ("runtime.memsetAsync(pointer, 0, 64, stream.ptr)", "a memory set"),
        ("runtime.memcpyAsync(pointer, other, 64, 3, stream.ptr)", "a copy"),
        ("runtime.memcpyAsync(other, pointer, 64, 3, stream.ptr)", "a copy"),
    ],
)
def test_a_replay_that_uses_freed_memory_is_a_fault(work, name, script):
    """Even if the address belongs to a new allocation."""
    done = script(
        f"{BEGIN}"
        "pointer, other = runtime.malloc(512), runtime.malloc(512)\n"
        "stream = cupy.cuda.Stream(non_blocking=True)\n"
        "stream.begin_capture()\n"
        f"{work}\n"
        "graph = stream.end_capture()\n"
        "graph.launch(stream)\n"
        "check(stream.synchronize)\n"
        "runtime.free(pointer)\n"
        "print(runtime.malloc(512) == pointer)\n"
        "graph.launch(stream)\n"
        "check(stream.synchronize)\n"
    )
    assert done.stdout.split() == ["done", "True", FAULT]
    message = f"stand-in: {name} uses memory that was freed after it was enqueued or captured"
    assert message in done.stderr.splitlines()


def test_the_last_error_is_reset_when_it_is_returned(run_python):
    done = run_python(
        "import ctypes, threading\n"
        "library = ctypes.CDLL('libcuda.so.1')\n"
        "def show():\n"
        "    print(library.cudaPeekAtLastError(), library.cudaPeekAtLastError(),"
        " library.cudaGetLastError(), library.cudaGetLastError())\n"
        "show()\n"
        "print(library.cudaSetDevice(7), library.cudaStreamDestroy(None))\n"
        "thread = threading.Thread(target=show); thread.start(); thread.join()\n"
        "library.cudaGetDevice(ctypes.byref(ctypes.c_int()))  # no success resets it\n"
        "show()\n"
        "library.cuModuleUnload(None)\n"
        "show()\n"
    )
    assert done.stdout.splitlines() == ["0 0 0 0", "101 400", "0 0 0 0", "400 400 400 0", "0 0 0 0"]


def test_a_query_that_finds_pending_work_leaves_no_error(script):
    done = script(
        f"{BEGIN}"
        "import ctypes\n"
        "library = ctypes.CDLL('libcuda.so.1')\n"
        "stream = cupy.cuda.Stream(non_blocking=True)\n"
        "scale(cupy.zeros(1, np.float32).data.ptr, stream=stream)\n"
        "print(runtime.streamQuery(stream.ptr), library.cudaGetLastError())\n",
        STANDIN_MODE="late",
    )
    assert done.stdout.split() == ["600", "0"]


def test_a_forked_process_cannot_use_cuda(script):
    done = script(
        f"{BEGIN}"
        "import os\n"
        "x = cupy.zeros(1)\n"
        "if os.fork():\n"
        "    os.wait()\n"
        "else:\n"
        "    check(lambda: runtime.malloc(64))\n"
        "    check(runtime.getDeviceCount)\n"
        "    print(flush=True)\n"
        "    os._exit(0)\n"
        "check(lambda: runtime.malloc(64))\n"
    )
    refused = "cudaErrorInitializationError"
    assert done.stdout.split() == [refused, refused, "done"]


def test_a_thread_may_use_cuda_while_the_process_ends(script):
    done = script(
        f"{BEGIN}"
        "import threading\n"
        "pointer = runtime.malloc(512)\n"
        "ready = threading.Event()\n"
        "def work():\n"
        "    stream = cupy.cuda.Stream(non_blocking=True)\n"
        "    while True:\n"
        "        runtime.memsetAsync(pointer, 0, 512, stream.ptr)\n"
        "        event = cupy.cuda.Event()\n"
        "        event.record(stream)\n"
        "        event.synchronize()\n"
        "        ready.set()\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "ready.wait()\n"
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_threads_may_use_one_device(script):
    """Kernels run without Python's lock; none of the threads waits forever for another."""
    done = script(
        f"{BEGIN}"
        "import threading\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def work(number):\n"
        "    stream = cupy.cuda.Stream(non_blocking=True)\n"
        "    with stream:\n"
        "        x = cupy.zeros(8, np.float32)\n"
        "        for _ in range(50):\n"
        "            kernel((1,), (8,), (x, np.float32(2), np.int32(8)))\n"
        "            x += 1\n"
        "            event = stream.record()\n"
        "            event.synchronize()\n"
        "        source = f'extern \"C\" __global__ void k{number}(int* x) {{ *x = {number}; }}'\n"
        "        y = cupy.zeros(1, np.int32)\n"
        "        cupy.RawModule(code=source).get_function(f'k{number}')((1,), (1,), (y,))\n"
        "        return x.get(), int(y.get()[0])\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    results = list(pool.map(work, range(4)))\n"
        "print([number for _, number in results])\n"
        "print(len({x.tobytes() for x, _ in results}))\n"
    )
    assert done.stdout.splitlines() == ["[0, 1, 2, 3]", "1"], done.stderr
