"""The kernels' loader: what it reads in the sources, compiles, and lets through to a launch.

Most tests use a namespace that records launches and computes nothing; the last ones run kernels in
the emulator.
"""

from __future__ import annotations

import re
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from available import backend_or_skip, cupy_or_skip
from cuda_errors import CUDADriverError, illegal_address

from gpucnn.backends import get_backend
from gpucnn.backends.contract import StepArrays
from gpucnn.backends.contract.window import conv_window
from gpucnn.backends.cuda import CudaBackend, arguments, loader, sources
from gpucnn.backends.cuda.grids import count_parts, count_splits, window_struct
from gpucnn.backends.cuda.lenet5 import LARGE_BATCH, LeNet5, LeNet5Sizes
from gpucnn.backends.cuda.loader import Kernels
from gpucnn.backends.cuda.sources import Parameter, kernel_folder, parse, signatures, source
from gpucnn.backends.cuda.structs import Struct, find_structs
from gpucnn.emulator.cuda import Device
from gpucnn.errors import ArrayError, BackendError, SettingError, ShapeError
from gpucnn.testing.case import (
    Case,
    backward,
    backward_arguments,
    forward,
    saved_arguments,
    to_backend,
    to_numpy,
)
from gpucnn.testing.cases import CASES
from gpucnn.testing.comparison import assert_close
from gpucnn.testing.values import normal

HEADER = "typedef long long int64;\n#define NULLABLE\n"
SCALE = """// y = a x + b, without (any) trouble: extern "C" __global__ void
/* extern "C" __global__ void __launch_bounds__(1) commented_out(int n) */
extern "C" __global__ void __launch_bounds__(64)
scale(const real* __restrict__ x,  // (n)
      real* __restrict__ y, const real* __restrict__ NULLABLE b, int n, real a, int64 offset) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + (b ? b[i] : 0);
}
"""


def fake_cuda(device: int | None) -> SimpleNamespace:
    """Return a ``cupy.cuda`` whose device has this number, and the limits of a GPU."""
    return SimpleNamespace(
        Device=lambda: SimpleNamespace(id=device, attributes=Device().attributes)
    )


class Recorder:
    """A namespace with CuPy's names whose kernels do nothing but remember their launches."""

    ndarray = np.ndarray
    cuda = fake_cuda(device=None)  # None: NumPy's arrays are on no numbered device

    def __init__(self) -> None:
        self.compiled: list[tuple[str, tuple[str, ...]]] = []
        self.launches: list[tuple[str, tuple[int, ...], tuple[int, ...], list[Any]]] = []

    def empty(self, shape: Any, dtype: Any) -> Any:
        return np.zeros(shape, dtype)

    zeros = empty

    def asarray(self, data: Any) -> Any:
        return np.array(data)

    def asnumpy(self, array: Any) -> Any:
        return np.array(array)

    def RawModule(self, code: str, options: tuple[str, ...]) -> Any:
        self.compiled.append((code, options))
        return SimpleNamespace(get_function=self._function)

    def _function(self, name: str) -> Callable[..., None]:
        return lambda grid, block, values: self.launches.append((name, grid, block, values))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "common.cuh").write_text(HEADER)
    (tmp_path / "scale.cu").write_text(SCALE)
    return tmp_path


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def array(*shape: int, dtype: str = "float32") -> Any:
    return np.ones(shape, dtype)


# --- sources ------------------------------------------------------------------------------------


def test_signatures_are_read_from_the_source(folder: Path) -> None:
    (scale,) = signatures(folder).values()
    assert (scale.name, scale.threads, scale.file) == ("scale", 64, folder / "scale.cu")
    assert scale.parameters == (
        Parameter("x", "real", is_array=True, nullable=False),
        Parameter("y", "real", is_array=True, nullable=False),
        Parameter("b", "real", is_array=True, nullable=True),
        Parameter("n", "int", is_array=False, nullable=False),
        Parameter("a", "real", is_array=False, nullable=False),
        Parameter("offset", "int64", is_array=False, nullable=False),
    )


@pytest.mark.parametrize(
    "definition",
    [
        'extern "C" __global__ void f(int n) {}',
        "__global__ void __launch_bounds__(32) f(int n) {}",
        'extern "C" __global__ void __launch_bounds__(THREADS) f(int n) {}',
        "template <int N> __global__ void __launch_bounds__(32) f(int n) {}",
    ],
)
def test_kernels_of_another_form_are_refused(definition: str) -> None:
    with pytest.raises(BackendError, match=r"^kernels/f\.cu: every kernel must begin with"):
        list(parse(Path("f.cu"), definition))


@pytest.mark.parametrize(
    "parameter", ["float4 x", "int NULLABLE n", "int", "real** x", "unsigned int n", "real& x", ""]
)
def test_parameters_of_another_type_are_refused(parameter: str) -> None:
    text = f'extern "C" __global__ void __launch_bounds__(32) f({parameter}) {{}}'
    with pytest.raises(BackendError, match=rf"^kernels/f\.cu: f has a parameter `{parameter}`"
                       .replace("*", r"\*")):  # fmt: skip
        list(parse(Path("f.cu"), text))


def test_a_name_may_be_used_once(folder: Path) -> None:
    (folder / "twice.cu").write_text(SCALE)
    with pytest.raises(BackendError, match=r"scale is in kernels/scale\.cu and kernels/twice\.cu"):
        signatures(folder)


def test_the_header_goes_before_each_file_and_lines_keep_their_numbers(folder: Path) -> None:
    assert source(folder / "scale.cu") == (
        f'#line 1 "kernels/common.cuh"\n{HEADER}\n#line 1 "kernels/scale.cu"\n{SCALE}'
    )


def test_a_file_of_the_folder_can_be_included(folder: Path) -> None:
    (folder / "twice.cuh").write_text("int twice;")
    (folder / "user.cu").write_text('// first\n#include "twice.cuh"\nint third;')
    assert source(folder / "user.cu") == (
        f'#line 1 "kernels/common.cuh"\n{HEADER}\n#line 1 "kernels/user.cu"\n// first\n'
        '#line 1 "kernels/twice.cuh"\nint twice;\n#line 3 "kernels/user.cu"\nint third;'
    )


def test_a_header_is_included_once(folder: Path) -> None:
    (folder / "once.cuh").write_text("int once;")
    (folder / "twice.cuh").write_text('#include "once.cuh"\nint twice;')
    (folder / "user.cu").write_text('#include "once.cuh"\n#include "twice.cuh"\nint third;')
    assert source(folder / "user.cu") == (
        f'#line 1 "kernels/common.cuh"\n{HEADER}\n#line 1 "kernels/user.cu"\n'
        '#line 1 "kernels/once.cuh"\nint once;\n#line 2 "kernels/user.cu"\n'
        '#line 1 "kernels/twice.cuh"\n\nint twice;\n#line 3 "kernels/user.cu"\nint third;'
    )


def test_the_folder_in_the_package_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "gpucnn" / "backends" / "cuda" / "sources.py"
    monkeypatch.setattr(sources, "__file__", str(module))
    with pytest.raises(BackendError, match=r"^no kernels in .*: install gpucnn again$"):
        kernel_folder()
    for place in (tmp_path / "kernels", tmp_path / "gpucnn" / "kernels"):
        place.mkdir(parents=True)
        (place / "common.cuh").touch()
        assert kernel_folder() == place


def test_the_sources_need_no_other_file() -> None:
    for file in kernel_folder().glob("*.cu*"):
        text = file.read_text(encoding="utf-8")
        assert text.isascii(), file.name
        assert max(map(len, text.splitlines())) <= 100, file.name
        text = source(file)  # which puts those of the folder in
        for word in ("#include", "asm", "atomicAdd", "cooperative_groups"):
            if word != "asm" or not file.stem.endswith(("_tf32", "tensor")):
                assert not re.search(rf"{word}\b", text), f"{file.name}: {word}"


# --- structs ------------------------------------------------------------------------------------

BOX = """// struct Commented { int no; };
struct Size { int h, w; };

struct Box : Size {
    int depth;  // after those of Size
    int64 offset;

    __device__ int64 volume() const { return (int64)h * w * depth; }
};

template <int N>
struct Helper { float other[N]; };
"""
FILL = """#include "box.cuh"

extern "C" __global__ void __launch_bounds__(32)
fill(real* __restrict__ x, const Box box, int n) {
    const int i = threadIdx.x;
    if (i < n) x[i] = i == 0 ? box.h : i == 1 ? box.w : i == 2 ? box.depth : (real)box.offset;
}
"""


@pytest.fixture
def box_folder(folder: Path) -> Path:
    (folder / "box.cuh").write_text(BOX)
    (folder / "fill.cu").write_text(FILL)
    return folder


def box(folder: Path) -> Struct:
    return signatures(folder)["fill"].structs["Box"]


def test_structs_are_read_from_the_headers(box_folder: Path) -> None:
    fields = (("h", "int"), ("w", "int"), ("depth", "int"), ("offset", "int64"))
    assert box(box_folder) == Struct("Box", fields)
    parameters = signatures(box_folder)["fill"].parameters
    assert parameters[1] == Parameter("box", "Box", False, False, box(box_folder))
    assert signatures(box_folder)["scale"].structs == {}
    assert find_structs("struct Derived : Unknown { int n; };") == {}


def test_a_struct_is_packed_by_name_in_the_layout_of_c(box_folder: Path) -> None:
    value = box(box_folder).pack(w=-2, h=1, offset=2**40, depth=np.int64(3))
    wanted = struct.pack("<iii4xq", 1, -2, 3, 2**40)  # an int64 begins at a multiple of 8
    assert value.argument.tobytes() == wanted
    assert (value.argument.shape, value.argument.dtype) == ((), np.dtype("V24"))
    assert repr(value) == f"Box(h=1, w=-2, depth=3, offset={2**40})"
    assert value["offset"] == 2**40


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"h": 2.0}, "^struct Box: h must be an integer that fits int, got 2.0$"),
        ({"h": None}, "^struct Box: h must be an integer that fits int, got None$"),
        ({"w": 2**31}, "^struct Box: w must be an integer that fits int, got 2147483648$"),
        ({"offset": -(2**63) - 1}, "^struct Box: offset must be an integer that fits int64"),
        ({"dept": 1}, "field of struct Box.*'dept'.*depth"),
    ],
)
def test_wrong_fields_are_refused(box_folder: Path, changed: dict[str, Any], message: str) -> None:
    good = {"h": 1, "w": 2, "depth": 3, "offset": 4}
    with pytest.raises((ArrayError, SettingError), match=message):
        box(box_folder).pack(**(good | changed))


def test_a_missing_field_is_refused(box_folder: Path) -> None:
    with pytest.raises(ArrayError, match=r"^struct Box: no value for field depth$"):
        box(box_folder).pack(h=1, w=2, offset=4)


def test_a_struct_is_passed_as_an_array_of_one_element(
    box_folder: Path, recorder: Recorder
) -> None:
    value = box(box_folder).pack(h=1, w=2, depth=3, offset=4)
    loaded, x = Kernels(recorder, "float32", box_folder), array(4)
    loaded.launch("fill", 1, x, value, 4)
    assert recorder.launches[0][3][1] is value.argument
    assert loaded._kernels["fill"].check.pass_structs((value,)) == (value.argument,)
    equal = Struct("Box", box(box_folder).fields).pack(h=1, w=2, depth=3, offset=4)
    loaded.launch("fill", 1, x, equal, 4)
    assert recorder.launches[1][3][1] is equal.argument
    other = Struct("Box", (*box(box_folder).fields[:3], ("offset", "int")))
    for wrong, found in (
        (other.pack(h=1, w=2, depth=3, offset=4), "Box"),
        (Struct("Size", (("h", "int"),)).pack(h=1), "Size"),
        (value.argument, r"numpy\.ndarray"),
        (None, r"builtins\.NoneType"),
        (5, r"builtins\.int"),
    ):
        message = rf"^fill: box must be a struct Box, made by pack\(\), got {found}$"
        with pytest.raises(ArrayError, match=message):
            loaded.launch("fill", 1, x, wrong, 4)
    assert len(recorder.launches) == 2


@pytest.mark.parametrize("parameter", ["Box* box", "Box NULLABLE box", "Bax box", "const Box& box"])
def test_structs_are_taken_by_value(box_folder: Path, parameter: str) -> None:
    (box_folder / "fill.cu").write_text(FILL.replace("const Box box", parameter))
    with pytest.raises(
        BackendError, match=r"^kernels/fill\.cu: fill has a parameter `.*box`; a parameter is"
    ):
        signatures(box_folder)


def test_a_struct_has_one_definition(box_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "kernel_folder", lambda: box_folder)
    assert sources.pack("Box", h=1, w=2, depth=3, offset=4).struct is box(box_folder)
    with pytest.raises(SettingError, match=r"struct of the kernels.*'Bax'.*Box"):
        sources.pack("Bax", h=1)
    second = FILL.replace("fill(", "again(").replace('#include "box.cuh"', "struct Box { int h; };")
    (box_folder / "again.cu").write_text(second)
    signatures.cache_clear()
    sources._structs.cache_clear()
    with pytest.raises(BackendError, match=r"^kernels/fill\.cu: struct Box is another one"):
        sources.pack("Box", h=1)


# --- compiling ----------------------------------------------------------------------------------


def test_a_file_is_compiled_once_for_each_type(folder: Path, recorder: Recorder) -> None:
    (folder / "unused.cu").write_text(SCALE.replace("scale(", "unused("))
    for dtype in ("float32", "float64", "float32"):
        arguments = array(2, dtype=dtype), array(2, dtype=dtype), None, 2, 1.0, 0
        loaded = Kernels(recorder, dtype, folder)
        loaded.launch("scale", 1, *arguments)
        loaded.launch("scale", 1, *arguments)
    text = source(folder / "scale.cu")
    assert recorder.compiled == [
        (text, ("--std=c++17", "-Dreal=float")),
        (text, ("--std=c++17", "-Dreal=double")),
    ]
    assert len(recorder.launches) == 6


def test_a_slow_compilation_is_told_once(
    folder: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "other.cu").write_text(SCALE.replace("scale(", "other("))
    told: list[str] = []

    def launch_all() -> None:
        loaded = Kernels(recorder, "float32", folder, lambda: told.append("compiling"))
        for name in ("scale", "other", "scale"):
            loaded.launch(name, 1, array(2), array(2), None, 2, 1.0, 0)

    monkeypatch.setattr(loader, "SLOW_COMPILE", 60)
    launch_all()
    assert not told
    monkeypatch.setattr(loader, "SLOW_COMPILE", -1)
    launch_all()
    assert told == ["compiling"]


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (
            'kernels/scale.cu(7): error: identifier "z" is undefined\n\n1 error detected',
            'kernels/scale.cu:7: identifier "z" is undefined',
        ),
        (
            "kernels/common.cuh: In function:\nkernels/common.cuh:3:9: error: no type 'foo'\n",
            "kernels/common.cuh:3: no type 'foo'",
        ),
        (
            "kernels/scale.cu(7): warning #177-D: unused\nkernels/scale.cu(9): catastrophic error: "
            "cannot open source file",
            "kernels/scale.cu:9: cannot open source file",
        ),
        ("no driver\nmore", "kernels/scale.cu cannot be compiled here: no driver"),
        ("", "kernels/scale.cu cannot be compiled here: RuntimeError"),
    ],
)
def test_a_compile_error_names_file_and_line(
    folder: Path, recorder: Recorder, log: str, message: str
) -> None:
    def fail(name: str) -> Any:
        raise RuntimeError(log)

    recorder.RawModule = lambda **_: SimpleNamespace(get_function=fail)  # type: ignore[assignment]
    with pytest.raises(BackendError) as raised:
        Kernels(recorder, "float32", folder).launch("scale", 1)
    assert str(raised.value) == message


def test_the_fault_of_an_earlier_kernel_is_not_an_error_of_this_file(
    folder: Path, recorder: Recorder
) -> None:
    """CUDA reports it when the next file is loaded."""
    fault = illegal_address()

    def fail(name: str) -> Any:
        raise fault

    recorder.RawModule = lambda **_: SimpleNamespace(get_function=fail)  # type: ignore[assignment]
    with pytest.raises(CUDADriverError) as raised:
        Kernels(recorder, "float32", folder).launch("scale", 1)
    assert raised.value is fault


# --- launching ----------------------------------------------------------------------------------


@pytest.fixture
def scale(folder: Path, recorder: Recorder) -> Callable[..., None]:
    """Launch the kernel with good arguments but for those given by name."""
    loaded = Kernels(recorder, "float32", folder)

    def launch(**changed: Any) -> None:
        good = {"x": array(2, 3), "y": array(6), "b": array(6), "n": 6, "a": 1.5, "offset": 0}
        loaded.launch("scale", 1, *(good | changed).values())

    return launch


def test_arguments_arrive_in_their_declared_types(
    scale: Callable[..., None], recorder: Recorder
) -> None:
    scale(b=None, n=np.int64(-7), a=3, offset=2**40)
    name, grid, block, (x, y, b, n, a, offset) = recorder.launches[0]
    assert (name, grid, block) == ("scale", (1,), (64,))
    assert x.shape == (2, 3)
    assert y.shape == (6,)
    assert (type(b), int(b)) == (np.uintp, 0)
    assert (type(n), int(n)) == (np.int32, -7)
    assert (type(a), float(a)) == (np.float32, 3.0)
    assert (type(offset), int(offset)) == (np.int64, 2**40)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 0.1, True, 7, np.float64(1e-60)])
def test_numbers_for_a_real(scale: Callable[..., None], recorder: Recorder, value: Any) -> None:
    scale(a=value)
    np.testing.assert_equal(recorder.launches[0][3][4], np.float32(value))


STRIDED = np.ones((6, 4), np.float32)[:, ::2]
WRONG: list[tuple[str, Any, str]] = [
    ("x", [1.0], r"must be a numpy\.ndarray, got builtins\.list"),
    ("x", None, r"must be a numpy\.ndarray, got builtins\.NoneType"),
    ("x", 5, r"must be a numpy\.ndarray, got builtins\.int"),
    ("x", array(2, 3, dtype="float64"), "must be float32, got float64"),
    ("y", array(6, dtype="int32"), "must be float32, got int32"),
    ("y", array(6, dtype=">f4"), "must be float32, got >f4"),
    ("x", STRIDED, "must be C-contiguous"),
    ("x", array(2, 3).T, "must be C-contiguous"),
    ("b", array(3)[::-1], "must be C-contiguous"),
    ("b", 0, r"must be a numpy\.ndarray, got builtins\.int"),
    ("n", array(1), "must be an integer that fits int, got"),
    ("n", 2.0, "must be an integer that fits int, got 2.0"),
    ("n", "2", "must be an integer that fits int, got '2'"),
    ("n", None, "must be an integer that fits int, got None"),
    ("n", 2**31, "must be an integer that fits int, got 2147483648"),
    ("n", -(2**31) - 1, "must be an integer that fits int, got -2147483649"),
    ("offset", 2**63, "must be an integer that fits int64, got 9223372036854775808"),
    ("a", "1", "must be a number, got '1'"),
    ("a", None, "must be a number, got None"),
    ("a", 1j, "must be a number, got 1j"),
    ("a", array(1), "must be a number, got array"),
    ("a", 1e39, "must fit real, got 1e"),
    ("a", -(10**400), "must fit real, got -1000"),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG, ids=lambda value: str(value)[:20])
def test_wrong_arguments_are_refused(
    scale: Callable[..., None], recorder: Recorder, name: str, value: Any, message: str
) -> None:
    with pytest.raises(ArrayError, match=f"^scale: {name} {message}"):
        scale(**{name: value})
    assert not recorder.launches


@pytest.mark.parametrize(("name", "value", "message"), WRONG, ids=lambda value: str(value)[:20])
def test_wrong_arguments_are_refused_after_right_ones(
    scale: Callable[..., None], recorder: Recorder, name: str, value: Any, message: str
) -> None:
    """What is remembered of a launch is not taken for a check of the next."""
    for number in (1, 2, 0.5):
        scale(n=int(number), a=float(number), offset=int(number))
    with pytest.raises(ArrayError, match=f"^scale: {name} {message}"):
        scale(**{name: value})
    assert len(recorder.launches) == 3


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("a", (0.0, -0.0, 0, True, 1.0, 0.1, np.float32(0.1), np.nan, np.inf, 1e-60, -1e-60)),
        ("n", (1, True, np.int8(1), -1, 2**31 - 1, -(2**31))),
        ("offset", (1, 1 + 2**32, -1, 2**32 - 1, 2**63 - 1)),
    ],
)
def test_remembered_numbers_keep_their_bits(
    scale: Callable[..., None], recorder: Recorder, name: str, values: tuple[Any, ...]
) -> None:
    type_, place = {"n": (np.int32, 3), "a": (np.float32, 4), "offset": (np.int64, 5)}[name]
    for value in 2 * values:
        scale(**{name: value})
        found = recorder.launches[-1][3][place]
        assert type(found) is type_
        assert found.tobytes() == type_(value).tobytes()


def test_only_so_much_is_remembered(
    folder: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "CACHE_SIZE", 2)
    monkeypatch.setattr(arguments, "CACHE_SIZE", 2)
    loaded = Kernels(recorder, "float32", folder)
    for n in (1, 2, 3, 1):
        loaded.launch("scale", n, array(2), array(2), None, n, 1.0, 0)
        assert len(loaded._kernels["scale"].grids) <= 2
    assert [(launch[1], int(launch[3][3])) for launch in recorder.launches] == [
        ((n,), n) for n in (1, 2, 3, 1)
    ]


def test_arrays_may_come_after_scalars(folder: Path, recorder: Recorder) -> None:
    (folder / "late.cu").write_text(
        'extern "C" __global__ void __launch_bounds__(32) late(int n, const real* x) {}'
    )
    loaded = Kernels(recorder, "float32", folder)
    x = array(3)
    loaded.launch("late", 1, 3, x)
    assert recorder.launches[0][3] == (3, x)
    with pytest.raises(ArrayError, match=r"^late: x must be float32, got float64$"):
        loaded.launch("late", 1, 3, array(3, dtype="float64"))


class CupyArray:
    """An array with the fields that the loader reads in CuPy's, of which it may have others."""

    def __init__(self, **changed: Any) -> None:
        known = {"dtype": np.dtype("float32"), "contiguous": True, "device": 0} | changed
        self.dtype = known["dtype"]
        self._c_contiguous = known["contiguous"]
        self.flags = SimpleNamespace(c_contiguous=known["contiguous"])
        self.data = SimpleNamespace(device_id=known["device"])
        self.device = SimpleNamespace(id=known["device"])

    _c_contiguous = True


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dtype": np.dtype("float64")}, "must be float32, got float64"),
        ({"contiguous": False}, "must be C-contiguous"),
        ({"device": 1}, "must be on device 0, not 1"),
    ],
)
def test_the_fields_of_cupy_arrays(
    changed: dict[str, Any], message: str, folder: Path, recorder: Recorder
) -> None:
    recorder.ndarray = CupyArray  # type: ignore[assignment]
    recorder.cuda = fake_cuda(device=0)
    loaded = Kernels(recorder, "float32", folder)
    good, wrong = CupyArray(), CupyArray(**changed)
    for b in (None, good):
        loaded.launch("scale", 1, good, good, b, 6, 1.5, 0)
    for place, name in enumerate("xyb"):
        arrays = [good, good, good]
        arrays[place] = wrong
        with pytest.raises(ArrayError, match=rf"^scale: {name} {message}$"):
            loaded.launch("scale", 1, *arrays, 6, 1.5, 0)
    assert len(recorder.launches) == 2


def test_arrays_of_cupy_itself(folder: Path, recorder: Recorder) -> None:
    """Over addresses of no memory: nothing is launched, and no GPU is needed."""
    cupy = cupy_or_skip()

    def made(device: int = 0) -> Any:
        memory = cupy.cuda.UnownedMemory(2**40, 64, None, device_id=device)
        return cupy.ndarray((2, 3), np.float32, memptr=cupy.cuda.MemoryPointer(memory, 0))

    recorder.ndarray = cupy.ndarray
    recorder.cuda = fake_cuda(device=0)
    loaded = Kernels(recorder, "float32", folder)
    x = made()
    loaded.launch("scale", 1, x, x, None, 6, 1.5, 0)
    fast_path = loaded._kernels["scale"].check.pass_arrays
    assert fast_path((x, x, x)) is not None, "a validator decides about every launch"
    for wrong, message in (
        (made().T, "must be C-contiguous"),
        (made(device=1), "must be on device 0, not 1"),
        (made().view(np.int32), "must be float32, got int32"),
    ):
        with pytest.raises(ArrayError, match=rf"^scale: y {message}$"):
            loaded.launch("scale", 1, x, wrong, None, 6, 1.5, 0)
    assert len(recorder.launches) == 1


class Elsewhere(np.ndarray):
    """An array of a device of a certain number, as CuPy's are."""

    place = SimpleNamespace(id=0)

    @property
    def device(self) -> Any:
        return self.place


def test_arrays_of_another_device_are_refused(folder: Path, recorder: Recorder) -> None:
    recorder.cuda = fake_cuda(device=0)
    loaded = Kernels(recorder, "float32", folder)
    here, there = array(6).view(Elsewhere), array(6).view(Elsewhere)
    loaded.launch("scale", 1, here, here, None, 6, 1.5, 0)
    there.place = SimpleNamespace(id=1)
    with pytest.raises(ArrayError, match=r"^scale: y must be on device 0, not 1$"):
        loaded.launch("scale", 1, here, there, None, 6, 1.5, 0)
    assert len(recorder.launches) == 1


@pytest.mark.cuda
def test_arrays_of_another_gpu_are_refused() -> None:
    backend: Any = backend_or_skip("cuda")
    cuda = backend._xp.cuda
    if cuda.runtime.getDeviceCount() < 2:
        pytest.skip("needs two GPUs")
    here = backend.asarray([1.0])
    with cuda.Device(1):
        there = backend.asarray([1.0])
    for arrays in ((there, here), (here, there)):
        with pytest.raises(ArrayError, match=r"must be on device 0, not 1$"):
            backend.relu_backward(*arrays)


def test_the_number_of_arguments(folder: Path, recorder: Recorder) -> None:
    loaded = Kernels(recorder, "float32", folder)
    for count in (0, 5, 7):
        with pytest.raises(ArrayError, match=f"^scale takes 6 arguments, got {count}$"):
            loaded.launch("scale", 1, *[1] * count)


def test_unknown_kernels(folder: Path, recorder: Recorder) -> None:
    with pytest.raises(BackendError, match="there is no kernel 'skale'"):
        Kernels(recorder, "float32", folder).launch("skale", 1)


@pytest.mark.parametrize("grid", [0, -1, 2**31, (1, 65536), (1, 1, 65536), (1, 0)])
def test_grids_that_no_device_takes(folder: Path, recorder: Recorder, grid: Any) -> None:
    loaded = Kernels(recorder, "float32", folder)
    with pytest.raises(ShapeError, match=r"^scale: a grid of .* blocks"):
        loaded.launch("scale", grid, array(1), array(1), None, 1, 1.0, 0)


def test_a_grid_is_checked_after_others_were_launched(folder: Path, recorder: Recorder) -> None:
    loaded = Kernels(recorder, "float32", folder)
    loaded.launch("scale", 1, array(1), array(1), None, 1, 1.0, 0)
    with pytest.raises(ShapeError, match=r"^scale: a grid of \(0,\) blocks"):
        loaded.launch("scale", 0, array(1), array(1), None, 1, 1.0, 0)


def test_every_element_gets_a_thread(folder: Path, recorder: Recorder) -> None:
    loaded = Kernels(recorder, "float32", folder)
    for elements in (1, 63, 64, 65, 128):
        loaded.launch_each("scale", elements, array(1), array(1), None, 1, 1.0, 0)
    assert [grid for _, grid, _, _ in recorder.launches] == [(1,), (1,), (1,), (2,), (2,)]


# --- the kernels and the backend ----------------------------------------------------------------


def test_every_kernel_is_launched_by_the_backend(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one variant or another: what the tests of operations run is all there is."""
    tiles = CudaBackend(recorder).tiles.tiles
    every = [
        {product: of[index % len(of)].name for product, of in tiles.items()}
        for index in range(max(map(len, tiles.values())))
    ]
    ways = [("ieee", variant) for variant in ("auto", "naive", *every)]
    for precision, variant in [*ways, *(("tf32", tile) for tile in every)]:
        backend = CudaBackend(recorder, name="recorded", precision=precision)
        backend.variant = variant
        for case in CASES:
            arrays = to_backend(backend, case.arrays())
            results = forward(backend, case, arrays)
            if case.has_backward:
                grad = case.output_grad(results)
                arguments = backward_arguments(case, arrays, results, grad)
                backward(backend, case, arguments)
    monkeypatch.setattr(LeNet5, "_check", lambda *_, **__: None)  # which asks where an array lies
    for batch in (1, LARGE_BATCH + 1):
        step = LeNet5(backend, LeNet5Sizes(1, 28, 28, 6, 16, 120, 84, 10), batch)
        whole, flat = backend.zeros((batch,), "int64"), backend.zeros((61_706,))
        one, number = backend.zeros((1,)), backend.zeros((1,), "int64")
        images, totals = backend.zeros((3, 1, 28, 28), "uint8"), backend.zeros((2,), "float64")
        step.set_grads(
            StepArrays(images, whole, whole, one, one, flat, flat, totals, number, number)
        )
    launched = {name for name, _, _, _ in recorder.launches}
    assert launched == set(signatures(kernel_folder()))


def test_arrays_of_another_layout_are_refused(recorder: Recorder) -> None:
    backend = CudaBackend(recorder)
    x, weight = array(2, 3, 5, 5), array(4, 3, 3, 3)
    with pytest.raises(ArrayError, match=r"^relu: input must be C-contiguous; use backend\.asarr"):
        backend.relu(x[:, ::2])
    with pytest.raises(ArrayError, match=r"^conv2d: weight must be C-contiguous"):
        backend.conv2d(x, weight.transpose(0, 1, 3, 2))
    with pytest.raises(ArrayError, match=r"^linear: bias must be C-contiguous"):
        backend.linear(array(2, 3), array(4, 3), array(8)[::2])
    assert not recorder.launches
    assert backend.asarray(x[:, ::2]).flags.c_contiguous


def test_sums_are_split_by_shape() -> None:
    assert [count_parts(terms) for terms in (1, 1024, 1025, 10**9)] == [1, 1, 2, 256]
    assert [count_splits(10**6, blocks) for blocks in (1, 100, 256, 10**4)] == [384, 3, 1, 1]
    assert [count_splits(terms, 1) for terms in (1, 64, 128, 6400)] == [1, 1, 2, 100]


def test_planes_are_indexed_in_32_bits() -> None:
    assert window_struct(conv_window((46340, 46340), (3, 3)))["Q"] == 46338
    with pytest.raises(ShapeError, match=r"^a plane of \(46341, 46341\) has more than"):
        window_struct(conv_window((46341, 46341), (3, 3)))


# --- in the emulator ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def emulator() -> Iterator[Any]:
    namespace = pytest.importorskip("gpucnn.emulator")
    try:
        namespace.zeros((1,), np.float32)
    except BackendError as error:
        pytest.skip(str(error))
    return namespace


def test_views_with_an_offset(emulator: Any, folder: Path) -> None:
    """Parameters are views into one flat array, aligned to an element and no more."""
    flat = emulator.asarray(np.arange(20, dtype=np.float32))
    loaded = Kernels(emulator, "float32", folder)
    x, y = flat[1:7].reshape((2, 3)), flat[9:15]
    loaded.launch_each("scale", 6, x, y, None, 6, 2.0, 0)
    wanted = np.arange(20)
    wanted[9:15] = 2 * wanted[1:7]
    np.testing.assert_array_equal(emulator.asnumpy(flat), wanted)


def test_products_of_views_with_an_offset(emulator: Any) -> None:
    backend = CudaBackend(emulator)
    rng = np.random.default_rng(0)
    flat, host = backend.asarray(normal(rng, 200)), normal(rng, 5, 7)
    weight = backend.to_numpy(flat)[3:66].reshape(9, 7)
    output = backend.linear(backend.asarray(host), flat[3:66].reshape((9, 7)), flat[101:110])
    wanted = host @ weight.T + backend.to_numpy(flat)[101:110]
    assert_close(backend.to_numpy(output), wanted.astype(np.float64), terms=7)


DIVIDE = """extern "C" __global__ void __launch_bounds__(32)
divide_all(const int64* __restrict__ a, const int64* __restrict__ b, int64* __restrict__ quotient,
           int64* __restrict__ rest, int n) {
    if ((int)threadIdx.x >= n) return;
    const Division result = divide(a[threadIdx.x], b[threadIdx.x]);
    quotient[threadIdx.x] = result.quotient;
    rest[threadIdx.x] = result.remainder;
}
"""


def test_divisions_of_64_bits(emulator: Any, tmp_path: Path) -> None:
    """The slow way, for arrays of more than 2^32 elements, which no test can make."""
    shutil.copy(kernel_folder() / "common.cuh", tmp_path)
    (tmp_path / "divide.cu").write_text(DIVIDE)
    most = 2**63 - 1
    pairs = [(0, 1), (7, 3), (2**32 - 1, 2**32 - 1), (2**32, 1), (2**32, 2**32 - 1), (most, 1)]
    pairs += [(most, most), (most - 1, most), (most, 2**62 + 1), (10**18 + 9, 10**9 + 7), (5, most)]
    a, b = map(list, zip(*pairs, strict=True))
    backend = CudaBackend(emulator)
    quotient, rest = (backend.zeros((len(pairs),), np.int64) for _ in range(2))
    with emulator.checking():
        Kernels(emulator, "float32", tmp_path).launch(
            "divide_all", 1, backend.asarray(a), backend.asarray(b), quotient, rest, len(pairs)
        )
    found = zip(backend.to_numpy(quotient).tolist(), backend.to_numpy(rest).tolist(), strict=True)
    assert list(found) == [divmod(*pair) for pair in pairs]


def test_a_struct_arrives_by_value(emulator: Any, box_folder: Path) -> None:
    for dtype in ("float32", "float64"):
        loaded, x = Kernels(emulator, dtype, box_folder), emulator.zeros((4,), dtype)
        with emulator.checking():
            loaded.launch("fill", 1, x, box(box_folder).pack(h=5, w=-6, depth=7, offset=2**40), 4)
        assert emulator.asnumpy(x).tolist() == [5, -6, 7, 2**40]


@pytest.mark.parametrize(
    ("found", "replacement"),
    [
        ("int64 offset;", "int64 offset; float scale;"),
        ("int64 offset;", "unsigned long long offset;"),
        ("{ int h, w; };", "{ int h, w; int64 area = h * w; };"),
    ],
)
def test_a_field_that_is_not_an_integer_does_not_compile(
    emulator: Any, box_folder: Path, found: str, replacement: str
) -> None:
    assert found in BOX
    (box_folder / "box.cuh").write_text(BOX.replace(found, replacement))
    with pytest.raises(BackendError, match="struct Box: integers of type int or int64 must come"):
        Kernels(emulator, "float32", box_folder).launch("fill", 1)


def test_a_broken_kernel_names_file_and_line(emulator: Any, folder: Path) -> None:
    (folder / "scale.cu").write_text(SCALE.replace("a * x[i]", "a * z[i]"))
    with pytest.raises(BackendError, match=r"^kernels/scale\.cu:7: .*\bz\b"):
        Kernels(emulator, "float32", folder).launch("scale", 1)


@pytest.mark.parametrize("variant", ["naive", "small", "large", "numpy"])
@pytest.mark.parametrize(
    "case", [c for c in CASES if c.op in ("conv2d", "linear") and c.has_backward], ids=str
)
def test_the_relu_of_a_product_is_that_of_its_own(case: Case, variant: str, emulator: Any) -> None:
    backend = get_backend("numpy") if variant == "numpy" else CudaBackend(emulator)
    backend.variant = variant  # type: ignore[attr-defined]
    arrays = to_backend(backend, case.arrays())
    plain = forward(backend, case, arrays)["output"]
    through = replace(case, options={**case.options, "relu": True})
    joined = forward(backend, through, arrays)["output"]
    wanted, found = backend.to_numpy(backend.relu(plain)), backend.to_numpy(joined)
    assert wanted.size < 10 or (wanted == 0).any(), "something must be cut off"
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("order", ["reverse", "random"])
@pytest.mark.parametrize(
    "name",
    [
        "conv2d-all options",
        "conv2d-more outputs than threads in a block",
        "conv2d-more channels than a tile",
        "max_pool2d-overlapping windows",
        "cross_entropy-257 samples",
        "mse_loss-70,000 elements",
        "linear-more features than a tile",
    ],
)
def test_the_order_of_threads_changes_no_bit(name: str, order: str, emulator: Any) -> None:
    (case,) = (case for case in CASES if str(case) == name)
    backend = CudaBackend(emulator)

    def run() -> list[bytes]:
        results = forward(backend, case, to_backend(backend, case.arrays()))
        results |= backward(backend, case, saved_arguments(backend, case))
        return [value.tobytes() for value in to_numpy(backend, results).values()]

    with emulator.checking():  # which is compiled otherwise than fast mode, and rounds otherwise
        wanted = run()
    with emulator.checking(order=order, seed=3):
        assert run() == wanted


@pytest.mark.parametrize("classes", [4, 70], ids=["thread-a-row", "block-a-row"])
def test_labels_and_indices_out_of_range_read_nothing(emulator: Any, classes: int) -> None:
    """The host does not wait to look at them: they show as NaN or -1."""
    backend = CudaBackend(emulator)
    scores, target = backend.zeros((3, classes)), backend.asarray([0, classes, -1])
    with emulator.checking():
        losses = backend.to_numpy(backend.cross_entropy(scores, target, "none"))
        rows = backend.to_numpy(backend.cross_entropy_backward(scores, target))
        hot = backend.to_numpy(backend.one_hot(target, classes))
        totals = backend.zeros((2,), np.float64)
        backend.add_metrics(totals, backend.zeros(()), scores, target)
        images, indices = backend.zeros((2, 1, 1, 1), np.uint8), backend.asarray([1, 2, -1])
        one, labels = backend.zeros((1,)), backend.asarray([5, 6])
        pixels = backend.to_numpy(backend.gather_images(images, indices, one, one))
        picked = backend.to_numpy(backend.gather_labels(labels, indices))
    strange = [False, True, True]
    for values in (losses[:, None], rows, hot, pixels.reshape(3, 1)):
        np.testing.assert_array_equal(np.isnan(values).all(1), strange)
        np.testing.assert_array_equal(np.isnan(values).any(1), strange)
    assert backend.to_numpy(totals).tolist() == [0, 1]
    assert picked.tolist() == [6, -1, -1]


def test_a_step_beyond_an_epoch_has_no_images_and_no_rate(emulator: Any) -> None:
    backend = CudaBackend(emulator)
    order, labels = backend.asarray([2, 0, 9]), backend.asarray([4, 5, 6])
    table, rates = backend.asarray([[0.5], [0.25]]), backend.zeros((1,))
    indices, target = backend.zeros((2,), np.int64), backend.zeros((2,), np.int64)
    found = []
    for batch in (0, 1, 2, -1):
        counter = backend.asarray([batch, 10])
        with emulator.checking():
            backend.begin_step(counter, order, labels, table, indices, target, rates, 2)
        arrays = (indices, target, rates, counter)
        found.append([backend.to_numpy(array).tolist() for array in arrays])
    assert found[:2] == [
        [[2, 0], [6, 4], [0.5], [1, 11]],
        [[9, -1], [-1, -1], [0.25], [2, 11]],
    ]
    for indices_there, labels_there, (rate,), _ in found[2:]:
        assert (indices_there, labels_there) == ([-1, -1], [-1, -1])
        assert np.isnan(rate)
