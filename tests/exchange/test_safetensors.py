"""safetensors and .npz files: what they hold, and files that are damaged or of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peak import peak_memory
from small import small_model

import gpucnn
from gpucnn import nn
from gpucnn.errors import CheckpointError, DivergedError
from gpucnn.exchange import export_npz, export_safetensors
from gpucnn.exchange.safetensors_file import read_safetensors
from gpucnn.training.files.model_files import load_model
from gpucnn.training.files.weight_files import network_in

library = pytest.importorskip("safetensors.numpy")


def described() -> nn.Sequential:
    model = small_model(seed=3)
    model.normalization, model.classes = ((0.4,), (0.2,)), ("a", "b", "c", "ü")
    model.output, model.preparation = "sigmoid", "plain"
    return model


def pack(header: Any, data: bytes = b"") -> bytes:
    """Return a file of the header, text or JSON, and data."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(dtype: str, shape: list[int], end: int, start: int = 0) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_comes_back_from_safetensors_as_it_was(tmp_path: Path, dtype: str) -> None:
    path, model = tmp_path / "w.safetensors", described().to(gpucnn.get_backend("numpy", dtype))
    export_safetensors(model, path)
    network = network_in(path)
    assert network is not None
    found = load_model(network)
    assert found.config() == model.config()
    for name in ("normalization", "classes", "output", "preparation"):
        assert getattr(found, name) == getattr(model, name)
    np.testing.assert_array_equal(found.flat_parameters, model.flat_parameters)
    assert found.backend.dtype == dtype


def test_weights_of_what_no_file_describes(tmp_path: Path) -> None:
    """Of a class with its own forward, or with arguments that JSON cannot hold."""

    class Net(nn.Sequential):
        def forward(self, x: Any, training: bool = False) -> Any:
            return super().forward(x, training)

    path, model = tmp_path / "w.safetensors", Net([nn.Flatten(), nn.Linear(4, 2)], (1, 2, 2))
    export_safetensors(model, path)
    assert network_in(path) is None
    other = nn.Sequential([nn.Flatten(), nn.Linear(4, 2)], (1, 2, 2), seed=7)
    gpucnn.load_weights(other, path)
    np.testing.assert_array_equal(other.flat_parameters, model.flat_parameters)


@pytest.mark.parametrize("export", [export_npz, export_safetensors])
def test_weights_with_nan_are_not_written(tmp_path: Path, export: Any) -> None:
    path, model = tmp_path / "w", small_model()
    next(model.parameters()).data[...] = np.inf
    with pytest.raises(DivergedError, match=r"conv\.weight contains NaN or infinity"):
        export(model, path)
    assert not path.exists()


@pytest.mark.parametrize("prefix", ["", "module.", "net."])
@pytest.mark.parametrize("name", ["w.safetensors", "w.npz", "noname"])
def test_load_weights_reads_a_state_dict(tmp_path: Path, name: str, prefix: str) -> None:
    """A prefix that all names share is left out, as DataParallel's."""
    state = {prefix + key: array for key, array in small_model(seed=3).state_dict().items()}
    if name == "w.npz":
        np.savez(tmp_path / name, **state)
    else:
        library.save_file(state, tmp_path / name)
    model = small_model(seed=5)
    assert gpucnn.load_weights(model, tmp_path / name) is None
    np.testing.assert_array_equal(model.flat_parameters, small_model(seed=3).flat_parameters)


@pytest.mark.parametrize(
    ("dtype", "data", "wanted"),
    [
        ("BF16", np.array([0x3FC0, 0xC000], "<u2"), np.float32([1.5, -2])),
        ("F16", np.float16([1.5, -2]), np.float32([1.5, -2])),
        ("F32", np.float32([0.1, -2]), np.float32([0.1, -2])),
        ("F64", np.float64([0.1, -2]), np.float64([0.1, -2])),
        ("I64", np.int64([3, -2]), np.int64([3, -2])),
        ("U8", np.uint8([3, 200]), np.uint8([3, 200])),
    ],
)
def test_types_of_numbers(tmp_path: Path, dtype: str, data: Any, wanted: Any) -> None:
    """Half precision becomes float32, also bfloat16, which NumPy lacks."""
    path = tmp_path / "w.safetensors"
    path.write_bytes(pack({"x": tensor(dtype, [2], data.nbytes)}, data.tobytes()))
    (found,) = read_safetensors(path)[0].values()
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


LARGE = 1 << 40


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a safetensors file, or is damaged"),
        (b"PK\3\4" + bytes(60), "is not a safetensors file, or is damaged"),
        (pack({"x": tensor("F32", [2], 8)}, bytes(7)), "or is damaged"),
        (pack({"x": tensor("F32", [2], 8)}, bytes(9)), "or is damaged"),
        (pack({"x": tensor("F32", [3], 8)}, bytes(8)), "or is damaged"),
        (pack({"x": tensor("F32", [LARGE], 4 * LARGE)}, bytes(8)), "or is damaged"),
        (pack({"x": tensor("F32", [LARGE, LARGE], 0)}), "or is damaged"),
        (pack({"x": tensor("F32", [1], 8, 4)}, bytes(8)), "or is damaged"),
        ((1 << 62).to_bytes(8, "little") + b"{}", "or is damaged"),
        ((90_000_000).to_bytes(8, "little") + b"{}", "or is damaged"),
        (pack("[" * 100_000), "or is damaged"),
        (pack('{"x":' * 10_000), "or is damaged"),
        (pack([]), "or is damaged"),
        (pack({"x": tensor("BOOL", [2], 2)}, bytes(2)), "x is BOOL, expected numbers"),
        (pack({"x": tensor("F8_E4M3", [2], 2)}, bytes(2)), "x is F8_E4M3, expected numbers"),
        (pack({"x": tensor("F16", [1], 2)}, b"\0\x7e"), "x contains NaN or infinity"),
        (pack({"x\ny": tensor("BF16", [1], 2)}, b"\x80\x7f"), "contains NaN or infinity"),
    ],
)
def test_damage(tmp_path: Path, content: bytes, message: str) -> None:
    """One line, and no memory for what a header only declares."""
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)

    def read() -> str:
        with pytest.raises(CheckpointError, match=message) as error:
            read_safetensors(path)
        return str(error.value)

    text, peak = peak_memory(read)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert len(text) < 400
    assert peak < 2_000_000 + 10 * len(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("fc.bias"), r"fc\.bias is missing"),
        (lambda state: state.update(other=np.zeros(2)), "other is unknown"),
        (lambda state: state.update({"fc.bias": np.zeros(3)}), r"has shape \(3,\), expected"),
        (lambda state: state.update({"fc.bias": np.full(4, np.nan)}), r"fc\.bias contains NaN"),
        (lambda state: state.update({f"x{k}": np.zeros(1) for k in range(999)}), "and 980 more$"),
    ],
)
@pytest.mark.parametrize("name", ["w.safetensors", "w.npz"])
def test_weights_that_do_not_fit_change_nothing(
    tmp_path: Path, name: str, change: Any, message: str
) -> None:
    path, state, model = tmp_path / name, small_model(seed=3).state_dict(), small_model(seed=5)
    change(state)
    if name == "w.npz":
        np.savez(path, **state)
    else:
        library.save_file(state, path)
    before = model.flat_parameters.copy()
    with pytest.raises(CheckpointError, match=f"^{path}.*{message}"):
        gpucnn.load_weights(model, path)
    np.testing.assert_array_equal(model.flat_parameters, before)


def test_what_is_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "device.safetensors").symlink_to("/dev/zero")
    (tmp_path / "large.safetensors").touch()
    with (tmp_path / "large.safetensors").open("r+b") as file:
        file.truncate((1 << 32) + 1)
    for name, message in (
        ("missing", "no such file"),
        ("device", "not a regular file"),
        ("large", "is larger than 4 GiB"),
    ):
        with pytest.raises(CheckpointError, match=message):
            gpucnn.load_weights(small_model(), tmp_path / f"{name}.safetensors")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, dict[str, Any]]:
    """A file, its content, and its header."""
    path = tmp_path_factory.mktemp("fuzz") / "w.safetensors"
    export_safetensors(described(), path)
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    return path, content[8 + size :], json.loads(content[8 : 8 + size])


# Text of any characters would need a table of Unicode, which takes seconds to make.
TEXT = st.text("aB0_./\\\"'{% \n\r\t\0\x1b\x85é€\u2028\u202e\ud800\U0001d11e", max_size=9)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner),
    max_leaves=4,
)
KEYS = ["gpucnn", "model", "normalization", "classes", "output", "preparation", "settings"]


@settings(max_examples=60)
@given(
    kind=st.sampled_from(["entry", "tensor", "description", "cut"]),
    key=st.sampled_from(["conv.weight", "fc.bias", "__metadata__", "new"]),
    entry=st.sampled_from(["dtype", "shape", "data_offsets", "gpucnn", "format"]),
    describe=st.sampled_from(KEYS),
    value=JSON | st.sampled_from(["F32", "BF16", "I64"]),
    cut=st.integers(0, 2000),
)
def test_no_content_is_read_as_anything_but_a_network_or_an_error(
    exported: tuple[Path, bytes, dict[str, Any]],
    kind: str,
    key: str,
    entry: str,
    describe: str,
    value: Any,
    cut: int,
) -> None:
    path, data, header = exported
    if kind == "entry":
        header = header | {key: {**header.get(key, {}), entry: value}}
    elif kind == "tensor":
        header = header | {key: value}
    elif kind == "description":
        description = json.loads(header["__metadata__"]["gpucnn"]) | {describe: value}
        forged = header["__metadata__"] | {"gpucnn": json.dumps(description)}
        header = header | {"__metadata__": forged}
    path.write_bytes(pack(header, data)[: cut if kind == "cut" else None])
    said = ""
    try:
        network = network_in(path)
        model = small_model() if network is None else load_model(network, "numpy")
        gpucnn.load_weights(model, path)
    except CheckpointError as error:
        said = str(error)
    assert "\n" not in said
