"""Several devices, which have their own memory, streams, events and modules."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.cuda

# One process: the emulator is loaded once. Each check prints its name and what it found.
CODE = """
import threading
runtime = cupy.cuda.runtime

def check(name, call):
    try:
        found = call()
    except Exception as error:
        found = str(error).split(":")[0].replace("_", "").lower().removeprefix("cudaerror")
    print(name, "=", found)

def kernel():
    return cupy.RawModule(code=SOURCE, options=("--std=c++17",)).get_function("scale")

def scale(x, **options):
    kernel()((1,), (x.size,), (x, np.float32(2), np.int32(x.size)), **options)

def device_of_a_new_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(runtime.getDevice()))
    thread.start()
    thread.join()
    return found[0]

check("count", runtime.getDeviceCount)
check("no such device", lambda: runtime.setDevice(2))
x0 = cupy.ones(4, np.float32)
s0, e0 = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Event()
free0 = runtime.memGetInfo()[0]
with cupy.cuda.Device(1):
    check("a new thread uses device", device_of_a_new_thread)
    free1 = runtime.memGetInfo()[0]
    x1 = cupy.ones(4, np.float32)
    s1, e1 = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Event()
    check("memory is counted by device", lambda: runtime.memGetInfo()[0] < free1)
    check("kernel in own stream", lambda: scale(x1))
    check("its result", lambda: cupy.asnumpy(x1).tolist())
    function = kernel()
    function.compile()
    check("record in other stream", lambda: runtime.eventRecord(e1.ptr, s0.ptr))
    e1.record(s1)
    e1.synchronize()
check("memory of device 0 is unchanged", lambda: runtime.memGetInfo()[0] == free0)
check("address", lambda: runtime.pointerGetAttributes(x1.data.ptr).device)
e0.record(s0)
s0.wait_event(e1)
e1.synchronize()
check("wait for the event of other device", lambda: e1.done)
check("elapsed time across devices", lambda: cupy.cuda.get_elapsed_time(e0, e1))
check("copy across devices", lambda: (runtime.memcpy(x0.data.ptr, x1.data.ptr, 16, 3),
                                      cupy.asnumpy(x0).tolist())[1])
check("copy in stream of other device",
      lambda: runtime.memcpyAsync(x0.data.ptr, x1.data.ptr, 16, 3, s1.ptr))
check("disable peer access", lambda: runtime.deviceDisablePeerAccess(1))
check("can access peer", lambda: runtime.deviceCanAccessPeer(0, 1))
check("can access itself", lambda: runtime.deviceCanAccessPeer(0, 0))
runtime.deviceEnablePeerAccess(1)
check("enable again", lambda: runtime.deviceEnablePeerAccess(1))
check("kernel with peer access",
      lambda: (kernel()((1,), (4,), (np.intp(x1.data.ptr), np.float32(2), np.int32(4))),
               runtime.deviceSynchronize(), cupy.asnumpy(x1).tolist())[2])
check("kernel in stream of other device",
      lambda: kernel()((1,), (4,), (x0, np.float32(2), np.int32(4)), stream=s1))
runtime.deviceDisablePeerAccess(1)
check("kernel without peer access",
      lambda: (kernel()((1,), (4,), (np.intp(x1.data.ptr), np.float32(2), np.int32(4))),
               runtime.deviceSynchronize()))
"""

EXPECTED = {
    "count": "2",
    "no such device": "invaliddevice",
    "a new thread uses device": "0",
    "memory is counted by device": "True",
    "kernel in own stream": "None",
    "its result": "[2.0, 2.0, 2.0, 2.0]",
    "record in other stream": "invalidresourcehandle",
    "memory of device 0 is unchanged": "True",
    "address": "1",
    "wait for the event of other device": "True",
    "elapsed time across devices": "invalidresourcehandle",
    "copy across devices": "[2.0, 2.0, 2.0, 2.0]",
    "copy in stream of other device": "None",
    "disable peer access": "peeraccessnotenabled",
    "can access peer": "1",
    "can access itself": "0",
    "enable again": "peeraccessalreadyenabled",
    "kernel with peer access": "[4.0, 4.0, 4.0, 4.0]",
    "kernel in stream of other device": "invalidhandle",
    "kernel without peer access": "illegaladdress",
}


def test_devices_own_what_is_made_on_them(script):
    done = script(CODE, STANDIN_DEVICES="2")
    found = dict(line.split(" = ", 1) for line in done.stdout.splitlines())
    assert found == EXPECTED, done.stderr
    assert "uses memory of device 1 without peer access" in done.stderr
