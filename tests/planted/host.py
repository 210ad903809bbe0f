"""Faults planted in the host code of the CUDA backend, and the test that finds each.

A fault is found if its test fails with an error that ``error`` matches. ``host_run.py`` plants
them, and ``tests/standin/test_planted_faults.py`` compares what is found with this table.
"""

from __future__ import annotations

from planted.planting import Change, HostFault


def table() -> str:
    """Return a Markdown table of the faults and where they are found, for README.md."""
    rows = ["| fault | found by | stand-in | emulated |", "| --- | --- | --- | --- |"]
    for fault in HOST_FAULTS:
        test = fault.test.partition("::")[2].partition("[")[0].removeprefix("test_")
        emulated = "yes" if "emulated" in fault.found else "no"
        if fault.cupy_only:
            emulated = "not applicable"
        rows.append(f"| {fault.name} | `{test}` | {fault.found[0]} | {emulated} |")
    return "\n".join(rows) + "\n"


GRAPHS, STEPS = "tests/backends/cuda/test_graphs.py::test_", "tests/training/test_steps.py::test_"
CONTRACT = "tests/backends/test_contract.py::test_"
OPS = "tests/backends/test_ops.py::test_"
FORWARD = OPS + "forward[('{device}', 'float32')-"
GRIDS = "tests/backends/cuda/test_grids.py::test_the_longest_stride_has_one_output["
WORK = "backends.cuda.graphs:CapturedWork"
ARRAYS = "backends.cuda.arrays:CudaArrays"
RING = "backends.cuda.rings:DeviceRing"
IN_RING = "tests/training/test_feed.py::test_a_batch_is_in_the_ring_when_its_step_is_done"
IN_RING += "[{device}-23-2-0]"
BITS = STEPS + "captured_steps_give_the_bits_of_eager_ones[{device}-SGD]"

COPIES = (
    HostFault(
        "a result is read before its copy is done",
        "the host reads page-locked memory that the GPU has yet to write",
        (
            Change(
                f"{ARRAYS}.to_numpy",
                "self._xp.asnumpy(array)",
                "__import__('cupyx').empty_pinned(array.shape, array.dtype)\n"
                "        array.get(out=host, blocking=False)",
            ),
        ),
        BITS,
        ("late",),
        cupy_only=True,
        error="DivergedError",
    ),
    HostFault(
        "a host buffer is overwritten before its copy is done",
        "the GPU copies what was written to the buffer later",
        (
            Change(
                f"{ARRAYS}.asarray",
                "if host.nbytes > MAX_STAGED:",
                "kept = self.__dict__.setdefault('kept', __import__('cupyx').empty_pinned"
                "((MAX_STAGED,), np.uint8))\n"
                "        if host.nbytes <= MAX_STAGED and host.size:\n"
                "            device = self.empty(host.shape, host.dtype)\n"
                "            buffer = kept[: host.nbytes].view(host.dtype).reshape(host.shape)\n"
                "            buffer[...] = host\n"
                "            device.set(buffer)\n"
                "            return device\n"
                "        if host.nbytes > MAX_STAGED:",
            ),
        ),
        BITS,
        ("late",),
        cupy_only=True,
        error="DivergedError",
    ),
    HostFault(
        "an upload on a stream of its own, without ordering",
        "kernels read the array before it has arrived",
        (
            Change(
                f"{ARRAYS}._upload",
                "device.set(host)\n        self.synchronize()",
                "side = self.__dict__.setdefault('side', self._xp.cuda.Stream(non_blocking=True))\n"
                "        device.set(host, stream=side)",
            ),
        ),
        CONTRACT + "a_large_array_is_there_when_it_is_read[cuda]",
        ("late",),
        cupy_only=True,
    ),
    HostFault(
        "an upload on a stream of its own, into memory that pending work still uses",
        "the work overwrites what has arrived",
        (
            Change(
                f"{ARRAYS}._upload",
                "device.set(host)\n        self.synchronize()",
                "side = self.__dict__.setdefault('side', self._xp.cuda.Stream(non_blocking=True))\n"
                "        device.set(host, stream=side)\n        side.synchronize()",
            ),
        ),
        CONTRACT + "a_large_array_is_there_when_it_is_read[cuda]",
        ("late",),
        cupy_only=True,
    ),
    HostFault(
        "fresh memory is not filled with zeros",
        "sums start from what the memory happens to hold",
        (Change(f"{ARRAYS}.zeros", "self._xp.zeros", "self._xp.empty"),),
        GRAPHS + "arrays_of_zeros_are_zero_each_time[{device}]",
        error="assert nan",
    ),
)

RINGS = (
    HostFault(
        "a slot of a ring is copied while steps still use it",
        "the steps that were launched last compute from the images of later ones",
        (Change(f"{RING}.upload", "self._stream.wait_event(self._used[slot])", "pass"),),
        IN_RING,
        ("late",),
        cupy_only=True,
    ),
    HostFault(
        "steps use a slot of a ring before its copy is done",
        "they compute from the images that were there before",
        (Change(f"{RING}.upload", "self._current().wait_event(self._copied[slot])", "pass"),),
        IN_RING,
        ("late",),
        cupy_only=True,
    ),
    HostFault(
        "a slot of a ring is filled before the copy from it is done",
        "the GPU copies the images of a later batch",
        (Change(f"{RING}.wait_until_free", "self._copied[slot].synchronize()", "pass"),),
        IN_RING,
        ("late",),
        cupy_only=True,
    ),
)

CAPTURES = (
    HostFault(
        "an array that a graph reads is replaced",
        "replays read the old array, whose memory may belong to another by now",
        (Change("training.batches:ImageBatches.set_order", "self.order[...] = ", "self.order = "),),
        BITS,
        error=r"assert \[|freed after its launch",
    ),
    HostFault(
        "captured work without memory of its own",
        "replays write to memory that arrays of others have by now",
        (
            Change(
                f"{WORK}._run",
                "self._cuda.using_allocator(self.memory.malloc)",
                "suppress()",
            ),
        ),
        GRAPHS + "replays_write_to_no_array_of_others[{device}]",
        error="IllegalAddress|freed after its launch",
    ),
    HostFault(
        "the memory of a graph is freed before its last replay",
        "replays write to memory that arrays of others have by now",
        (
            Change(
                f"{WORK}.__init__",
                "GraphMemory(cuda) if shared is None else shared.memory",
                "GraphMemory(cuda) if shared is None else weakref.proxy(shared.memory)",
            ),
        ),
        GRAPHS + "shared_memory_lives_as_long_as_either_work[{device}]",
        error="== 1$|freed after its launch",
    ),
    HostFault(
        "the memory of graphs has a limit of its own",
        "at the limit CuPy's pool frees what graphs still use",
        (Change("backends.cuda.graphs:GraphMemory.__init__", "self._pool.set_limit()", "pass"),),
        GRAPHS + "graphs_have_no_limit_of_their_own",
        ("eager",),
        cupy_only=True,
        error="OutOfMemoryError",
    ),
    HostFault(
        "the memory of graphs does not come from the pool of other arrays",
        "where memory is short CuPy's pool frees what graphs still use",
        (
            Change(
                "backends.cuda.graphs:GraphMemory.__init__",
                "cuda.MemoryPool(cuda.get_allocator())",
                "cuda.MemoryPool()",
            ),
        ),
        GRAPHS + "out_of_memory_at_a_capture_leaves_other_graphs_valid",
        ("eager",),
        cupy_only=True,
        error="DID NOT RAISE",
    ),
    HostFault(
        "a capture is taken for a run",
        "the first replay is missing: a capture does nothing",
        (
            Change(
                f"{WORK}._replay",
                "self._graphs[times] = self._capture(times)",
                "self._graphs[times] = self._capture(times)\n                return",
            ),
        ),
        GRAPHS + "work_runs_as_often_as_asked[{device}-times1]",
    ),
    HostFault(
        "a result is read on the host in a capture",
        "CuPy refuses it, and steps are launched one by one",
        (
            Change(
                "backends.cuda.training:CudaTraining._add_metrics",
                "sizes = (*scores",
                "self._xp.asnumpy(loss)\n        sizes = (*scores",
            ),
        ),
        BITS,
        error="could not be captured|stream is capturing",
    ),
    HostFault(
        "the number of the step is read on the host in a capture",
        "CuPy refuses it: every replay would use the same dropout masks",
        (
            Change(
                "training.step:LayerGradients.set_grads",
                "TrainingPass(self.seed, arrays.step)",
                "TrainingPass(self.seed, be.asarray(be.to_numpy(arrays.step)))",
            ),
        ),
        STEPS + "what_cannot_be_captured_runs_eagerly[{device}-options0-None]",
        error="could not be captured|stream is capturing",
    ),
    HostFault(
        "a kernel goes to the legacy stream in a capture",
        "it runs once, at the capture, and is missing in every replay",
        (
            Change(
                f"{ARRAYS}.__init__",
                "self.fuses = True",
                "self.fuses, self.legacy = True, namespace.cuda.get_current_stream()",
            ),
            Change(
                "backends.cuda.training:CudaTraining._sgd_step",
                "self._kernels.launch_each(",
                "with self.legacy:\n          self._kernels.launch_each(",
            ),
        ),
        BITS,
    ),
    HostFault(
        "a capture on a blocking stream",
        "work of another thread on the legacy stream is refused and spoils the capture",
        (Change(f"{WORK}._capture", "Stream(non_blocking=True)", "Stream(non_blocking=False)"),),
        GRAPHS + "arrays_of_other_threads_are_not_the_works[{device}]",
        error="STREAM_CAPTURE_IMPLICIT|StreamCaptureImplicit",
    ),
    HostFault(
        "a stream is left capturing after an error",
        "the device cannot be waited for",
        (
            Change(
                f"{WORK}._capture",
                "stream.end_capture()\n                raise",
                "pass\n                raise",
            ),
        ),
        GRAPHS + "an_error_in_a_capture_ends_it[{device}]",
        error="StreamCaptureUnsupported",
    ),
)

STREAMS = (
    HostFault(
        "a graph is launched on another stream, without ordering",
        "it runs before or after the work that it belongs to",
        (
            Change(
                f"{WORK}._replay",
                "self._graphs[times].launch()",
                "side = self.__dict__.setdefault('side', self._cuda.Stream(non_blocking=True))\n"
                "            self._graphs[times].launch(side)",
            ),
        ),
        BITS,
        ("late",),
    ),
    HostFault(
        "graphs in flight share a workspace",
        "each overwrites what the other is about to read",
        (
            Change(
                "backends.cuda.fused:CudaFusion.fuse_gradients",
                "return LeNet5(self, sizes, samples)",
                "return vars(lenet5_sizes).setdefault((sizes, samples), "
                "LeNet5(self, sizes, samples))",
            ),
        ),
        STEPS + "runs_on_two_streams_do_not_meet[{device}-fused]",
        ("mixed",),
    ),
    HostFault(
        "captured work of two runs shares its memory",
        "each overwrites what the other is about to read",
        (
            Change(
                f"{WORK}.__init__",
                "GraphMemory(cuda) if shared is None else shared.memory",
                "vars(GraphMemory.malloc).setdefault('one', GraphMemory(cuda))",
            ),
        ),
        STEPS + "runs_on_two_streams_do_not_meet[{device}-layers]",
        ("mixed",),
    ),
    HostFault(
        "an event is recorded before the work",
        "the host is further ahead than it may be",
        (
            Change(
                f"{WORK}.__call__",
                "if times and not self._warm:",
                "self._limit_pending()\n        if times and not self._warm:",
            ),
            Change(
                f"{WORK}.__call__", "times -= size\n        self._limit_pending()", "times -= size"
            ),
        ),
        GRAPHS + "no_more_than_two_calls_are_unfinished",
        ("late",),
    ),
    HostFault(
        "an event is recorded on another stream",
        "waiting for it waits for nothing",
        (
            Change(
                f"{WORK}._limit_pending",
                "event.record()",
                "event.record(self._cuda.Stream(non_blocking=True))",
            ),
        ),
        GRAPHS + "no_more_than_two_calls_are_unfinished",
        ("late",),
    ),
)

LAUNCHES = (
    HostFault(
        "a grid that is rounded down",
        "the last elements are not computed",
        (
            Change(
                "backends.cuda.loader:Kernels.launch_each",
                "-(-elements // kernel.signature.threads)",
                "max(elements // kernel.signature.threads, 1)",
            ),
        ),
        FORWARD + "relu-257 elements]",
    ),
    HostFault(
        "the axes of a grid are exchanged",
        "some tiles are computed twice and others not at all",
        (
            Change(
                f"{ARRAYS}._product",
                "-(-columns // tile.columns) * classes, -(-rows // tile.rows)",
                "-(-rows // tile.rows), -(-columns // tile.columns) * classes",
            ),
        ),
        FORWARD + "conv2d-batch 33]",
    ),
    HostFault(
        "arguments of one type in another order",
        "the kernel reads other rows",
        (
            Change(
                "backends.cuda.linear:CudaLinear._linear",
                "batch, features, outputs, relu",
                "features, batch, outputs, relu",
            ),
        ),
        FORWARD + "linear-5 to 3 features]",
        error="AssertionError|out of bounds",
    ),
    HostFault(
        "a number is passed as a double where the kernel has a float",
        "the kernel reads the low half of the double",
        (
            Change(
                "backends.cuda.arguments:_scalar_path",
                "found = tuple([validate(value) for validate, value in pairs])",
                "found = values",
            ),
        ),
        FORWARD + "leaky_relu-257 elements]",
        error="AssertionError|cast it",
    ),
    HostFault(
        "a transposed array is passed as it is",
        "the kernel reads its elements in another order",
        (
            Change(f"{ARRAYS}._check", "not array.flags.c_contiguous", "False"),
            Change("backends.cuda.arguments:_array_path", "or not array._c_contiguous", ""),
            Change("backends.cuda.arguments:_array_path", "or not array.flags.c_contiguous", ""),
            Change(
                "backends.cuda.arguments:_array_validator",
                "not array.flags.c_contiguous",
                "False",
            ),
        ),
        OPS + "memory_order_of_arguments[{device}-linear-a NaN, fused ReLU-reversed_axes]",
        error="DID NOT RAISE|not C-contiguous",
    ),
    HostFault(
        "an array of another GPU is passed",
        "the kernel reads from an address of another device",
        (Change("backends.cuda.loader:Kernels.__init__", "device.id", "None"),),
        "tests/backends/cuda/test_loader.py::test_arrays_of_another_gpu_are_refused",
        ("eager",),
        cupy_only=True,
        error="DID NOT RAISE",
    ),
    HostFault(
        "a kernel for another type is launched",
        "the kernel reads two numbers as one",
        (
            Change(
                "backends.cuda.loader:_module",
                "key = (namespace, file, dtype.name)",
                "key = (namespace, file, '')",
            ),
        ),
        GRIDS + "float64-{device}]",
        before=GRIDS + "float32-{device}]",
        error="AssertionError|takes float32",
    ),
)

ERRORS = (
    HostFault(
        "the error of an earlier kernel is ignored",
        "the run continues with wrong results",
        (Change(f"{WORK}._replay", "if is_kernel_fault(error):", "if False:"),),
        GRAPHS + "the_fault_of_an_earlier_kernel_is_not_an_error_of_the_capture[{device}]",
        error="could not be captured",
    ),
)

HOST_FAULTS = (*COPIES, *RINGS, *CAPTURES, *STREAMS, *LAUNCHES, *ERRORS)
