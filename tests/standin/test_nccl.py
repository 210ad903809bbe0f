"""NCCL between processes, and between the devices of one."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.cuda

# CuPy is imported once, before the ranks are forked: none of them has used CUDA by then.
RANKS = """
import os, signal, sys, time
from contextlib import suppress
from cupy.cuda import nccl
runtime, SUM = cupy.cuda.runtime, nccl.NCCL_SUM
FLOAT, DOUBLE, INT = nccl.NCCL_FLOAT32, nccl.NCCL_FLOAT64, nccl.NCCL_INT64

def ranks(work, count=2):
    "Run work(rank, id) in processes of their own; print and return their statuses."
    unique, children = nccl.get_unique_id(), []
    for rank in range(count):
        children.append(os.fork())
        if not children[-1]:
            try:
                runtime.setDevice(rank)
                work(rank, unique)
            except Exception as error:
                check(f"{work.__name__}.{rank} raised", error)
            sys.stderr.flush()
            os._exit(0)
    return [os.waitpid(child, 0)[1] for child in children]

def check(name, found):
    os.write(1, f"{name} = {found}\\n".encode())  # at once: the ranks share the pipe

def array(*values, dtype=np.float32):
    return cupy.asarray(np.array(values, dtype))

def sum_of(comm, x, stream=0, type=FLOAT):
    comm.allReduce(x.data.ptr, x.data.ptr, x.size, type, SUM, stream)
"""

WORKING = """
before = set(os.listdir("/dev/shm"))
here, there = os.pipe()

def calls(rank, unique):
    comm = nccl.NcclCommunicator(2, unique, rank)
    check(f"who.{rank}", (comm.size(), comm.rank_id(), comm.device_id()))
    x, y, z = array(1 + rank, 10.5), array(0, 0), array(0, 0, 0, 0)
    four = array(1, 2, 3, 4 + rank)
    p, q, r = x.data.ptr, y.data.ptr, z.data.ptr
    comm.allReduce(p, q, 2, FLOAT, SUM, 0)
    check(f"sum.{rank}", y.tolist())
    comm.allReduce(p, q, 2, FLOAT, nccl.NCCL_MAX, 0)
    check(f"max.{rank}", y.tolist())
    comm.allReduce(p, q, 2, FLOAT, nccl.NCCL_AVG, 0)
    check(f"avg.{rank}", y.tolist())
    y[...] = -1
    comm.reduce(p, q if rank else 0, 2, FLOAT, SUM, 1, 0)
    check(f"reduce.{rank}", y.tolist())
    comm.broadcast(p, q, 2, FLOAT, 1, 0)
    check(f"broadcast.{rank}", y.tolist())
    comm.allGather(p, r, 2, FLOAT, 0)
    check(f"gather.{rank}", z.tolist())
    comm.reduceScatter(four.data.ptr, q, 2, FLOAT, SUM, 0)
    check(f"scatter.{rank}", y.tolist())
    nccl.groupStart()
    comm.send(p, 2, FLOAT, 1 - rank, 0)
    comm.recv(q, 2, FLOAT, 1 - rank, 0)
    nccl.groupEnd()
    check(f"exchange.{rank}", y.tolist())
    large = array(*range(5000), dtype=np.int64)
    comm.allReduce(large.data.ptr, large.data.ptr, 5000, INT, nccl.NCCL_PROD, 0)
    check(f"large.{rank}", bool((large.get() == np.arange(5000) ** 2).all()))
    streams(rank, comm)
    graphs(rank, comm)
    hosts(rank, comm)
    comm.destroy()
    check(f"freed.{rank}", is_soon(lambda: "standin-nccl" not in open("/proc/self/maps").read()))

def is_soon(true, seconds=20):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()

def add(x, y, stream):
    kernel = cupy.RawModule(code=SOURCE, options=("--std=c++17",)).get_function("add")
    kernel((1,), (x.size,), (x, y, np.int32(x.size)), stream=stream)

def streams(rank, comm):
    "A kernel, a sum in another stream that waits for it, and a kernel that waits for the sum."
    first, second = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    x, one = array(rank, rank), array(1, 1)
    cupy.cuda.Device().synchronize()
    add(x, one, first)
    second.wait_event(first.record())
    sum_of(comm, x, second.ptr)
    first.wait_event(second.record())
    add(x, one, first)
    first.synchronize()
    check(f"streams.{rank}", x.tolist())

def graphs(rank, comm):
    "Each replay adds 1 and sums over the ranks twice, once in a stream that has joined."
    stream, other = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    x, y, one = array(rank), array(1), array(1)
    add(x, array(0), stream)
    cupy.cuda.Device().synchronize()
    with stream:
        stream.begin_capture()
        add(x, one, stream)
        sum_of(comm, x, stream.ptr)
        other.wait_event(stream.record())
        sum_of(comm, y, other.ptr)
        stream.wait_event(other.record())
        graph = stream.end_capture()
        check(f"captured.{rank}", (x.get(stream=first_stream()).tolist()))
        for _ in range(3):
            graph.launch()
        sum_of(comm, x, stream.ptr)
        stream.synchronize()
    check(f"replayed.{rank}", (x.tolist(), y.tolist()))

def first_stream():
    return cupy.cuda.Stream(non_blocking=True)

def hosts(rank, comm):
    "Rank 1 waits for the host of rank 0, not for its own device, which works all the same."
    x = array(5)
    sum_of(comm, x)
    if rank == 0:
        found = x.tolist()
        os.write(there, b"x")
        check("hosts.0", found)
    else:
        os.read(here, 1)
        check("hosts.1", x.tolist())

check("statuses", ranks(calls))
check("left", set(os.listdir("/dev/shm")) - before)
"""

WORKED = {
    "who.0": "(2, 0, 0)",
    "who.1": "(2, 1, 1)",
    "reduce.0": "[-1.0, -1.0]",
    "reduce.1": "[3.0, 21.0]",
    "scatter.0": "[2.0, 4.0]",
    "scatter.1": "[6.0, 9.0]",
    "exchange.0": "[2.0, 10.5]",
    "exchange.1": "[1.0, 10.5]",
    "captured.0": "[0.0]",
    "captured.1": "[1.0]",
    "statuses": "[0, 0]",
    "left": "set()",
}
BOTH = {
    "sum": "[3.0, 21.0]",
    "max": "[2.0, 10.5]",
    "avg": "[1.5, 10.5]",
    "broadcast": "[2.0, 10.5]",
    "gather": "[1.0, 10.5, 2.0, 10.5]",
    "large": "True",
    "streams": "[4.0, 4.0]",
    "replayed": "([36.0], [8.0])",
    "hosts": "[10.0]",
    "freed": "True",
}


def results(done) -> dict[str, str]:
    return dict(line.split(" = ", 1) for line in done.stdout.splitlines())


def test_calls_between_two_processes(script):
    done = script(RANKS + WORKING, STANDIN_DEVICES="2")
    expected = {f"{name}.{rank}": found for name, found in BOTH.items() for rank in range(2)}
    assert results(done) == {**expected, **WORKED}, done.stderr
    assert done.stderr == ""


DEVICES = """
from cupy.cuda import nccl
comms = nccl.NcclCommunicator.initAll(2)
arrays = []
for rank in range(2):
    with cupy.cuda.Device(rank):
        arrays.append(cupy.asarray(np.full(3, 1 + rank, np.float64)))
for _ in range(2):
    nccl.groupStart()
    for comm, x in zip(comms, arrays):
        comm.allReduce(x.data.ptr, x.data.ptr, 3, nccl.NCCL_FLOAT64, nccl.NCCL_SUM, 0)
    nccl.groupEnd()
for x in arrays:
    print(x.device.id, x.tolist())

def refused(call):
    try:
        call()
    except nccl.NcclError as error:
        print(str(error).split(":")[0])

x, y = arrays
first = comms[0]
refused(lambda: first.allReduce(y.data.ptr, x.data.ptr, 3, nccl.NCCL_FLOAT64, nccl.NCCL_SUM, 0))
refused(lambda: first.allReduce(x.data.ptr, x.data.ptr, 9999, nccl.NCCL_FLOAT64, nccl.NCCL_SUM, 0))
refused(lambda: first.allReduce(x.data.ptr, x.data.ptr, 3, nccl.NCCL_FLOAT16, nccl.NCCL_SUM, 0))
refused(lambda: first.bcast(x.data.ptr, 3, nccl.NCCL_FLOAT64, 2, 0))
refused(lambda: first.commSplit(0, 0))
refused(lambda: nccl.NcclCommunicator(2, nccl.get_unique_id(), 2))
refused(lambda: nccl.NcclCommunicator(2, bytes(128), 0))
refused(nccl.groupEnd)
refused(lambda: nccl.NcclCommunicator.initAll([0, 0]))
"""


def test_two_devices_of_one_process(script):
    done = script(DEVICES, STANDIN_DEVICES="2")
    assert done.stdout.splitlines() == [
        "0 [6.0, 6.0, 6.0]",
        "1 [6.0, 6.0, 6.0]",
        *(["NCCL_ERROR_INVALID_ARGUMENT"] * 4),
        "NCCL_ERROR_INTERNAL_ERROR",
        "NCCL_ERROR_INVALID_ARGUMENT",
        "NCCL_ERROR_SYSTEM_ERROR",
        "NCCL_ERROR_INVALID_USAGE",
        "NCCL_ERROR_INVALID_USAGE",
    ], done.stderr
    for line in (
        "ncclAllReduce needs memory of device 0",
        "ncclAllReduce of type 6 is not written",
        "ncclCommSplit is not written",
        "no process has this unique id",
        "rank 1 uses device 0 as well",
    ):
        assert line in done.stderr


FAULTS = """
def counts(rank, unique):
    comm = nccl.NcclCommunicator(2, unique, rank)
    x = array(1, 2, 3)
    comm.allReduce(x.data.ptr, x.data.ptr, 2 + rank, FLOAT, SUM, 0)
    x.get()

def order(rank, unique):
    comm = nccl.NcclCommunicator(2, unique, rank)
    x = array(1, 2)
    if rank:
        comm.bcast(x.data.ptr, 2, FLOAT, 1, 0)
    else:
        comm.allReduce(x.data.ptr, x.data.ptr, 2, FLOAT, SUM, 0)
    x.get()

def messages(rank, unique):
    comm = nccl.NcclCommunicator(2, unique, rank)
    x = array(1, 2)
    if rank:
        comm.recv(x.data.ptr, 1, FLOAT, 0, 0)
        x.get()
    comm.send(x.data.ptr, 2, FLOAT, 1, 0)
    wait_for_error(comm)

def wait_for_error(comm):
    done = cupy.cuda.Event()
    done.record()
    with suppress(nccl.NcclError):
        while not done.done:
            comm.check_async_error()
    try:
        comm.check_async_error()
    except nccl.NcclError as error:
        check("asynchronous", error)
    comm.abort()
    runtime.deviceSynchronize()

def dies(rank, unique):
    comm = nccl.NcclCommunicator(2, unique, rank)
    x = array(1)
    sum_of(comm, x)
    x.get()
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    sum_of(comm, x)
    began = time.monotonic()
    wait_for_error(comm)
    check("soon", time.monotonic() - began < 10)

for work in counts, order, messages:
    ranks(work)
"""


def test_ranks_that_disagree_are_reported(script):
    done = script(RANKS + FAULTS, STANDIN_DEVICES="2")
    found, launch = results(done), "cudaErrorLaunchFailure"
    for name in ("counts.0", "counts.1", "order.0", "order.1", "messages.1"):
        assert launch in found[f"{name} raised"], (name, done.stderr)
    assert "NCCL_ERROR_REMOTE_ERROR" in found["asynchronous"]
    for line in (
        "NCCL rank 0: its call is ncclAllReduce, sum of 2 float32, that of rank 1 is "
        "ncclAllReduce, sum of 3 float32\n",
        "that of rank 0 is ncclAllReduce, sum of 2 float32\n",
        "NCCL rank 1: its call is ncclBroadcast of 2 float32, root 1",
        "NCCL rank 1: its call is ncclRecv of 1 float32, that of rank 0 is ncclSend of 2 float32\n",
        "NCCL rank 0: ncclSend of 2 float32: rank 1 has ",
    ):
        assert line in done.stderr


MISSING = """
from cupy.cuda import nccl
def attempt(call):
    try:
        call()
    except Exception as error:
        print(str(error).split(":")[0])

attempt(lambda: nccl.NcclCommunicator(2, nccl.get_unique_id(), 0))
comms = nccl.NcclCommunicator.initAll(2)
x = cupy.ones(1, np.float32)
comms[0].allReduce(x.data.ptr, x.data.ptr, 1, nccl.NCCL_FLOAT32, nccl.NCCL_SUM, 0)
attempt(x.get)
"""


def test_ranks_that_do_not_come_are_reported(script):
    done = script(MISSING, STANDIN_DEVICES="2", STANDIN_NCCL_SECONDS="1")
    assert done.stdout.splitlines() == ["NCCL_ERROR_REMOTE_ERROR", "cudaErrorLaunchFailure"]
    assert done.stderr.splitlines() == [
        "stand-in: NCCL rank 0: rank 1 has not joined in 1 s",
        "stand-in: NCCL rank 0: ncclAllReduce, sum of 1 float32: rank 1 has not come in 1 s",
    ]


def test_the_end_of_a_rank_is_an_error_of_the_others(script):
    code = FAULTS.split("\nfor work")[0] + '\ncheck("statuses", ranks(dies))\n'
    done = script(RANKS + code, STANDIN_DEVICES="2", STANDIN_NCCL_SECONDS="600")
    assert results(done) == {
        "asynchronous": "NCCL_ERROR_REMOTE_ERROR: another rank failed or has ended",
        "soon": "True",
        "statuses": "[0, 9]",
    }, done.stderr
    assert done.stderr == (
        "stand-in: NCCL rank 0: ncclAllReduce, sum of 1 float32: rank 1 has ended\n"
    )
