"""Files of weights that are not gpucnn's: what they are, and how to convert them."""

from __future__ import annotations

import shlex
from pathlib import Path

_HDF5 = b"\x89HDF\r\n\x1a\n"
_SAFETENSORS = b"\0\0\0{"  # after five bytes: a header of less than 2**40 bytes, which is JSON
_NAMES_SHOWN = 3


def describe_foreign(file: Path, head: bytes) -> str:
    """Return why ``file``, which begins with ``head``, is not a checkpoint, and what to do.

    The text follows the file's name. Nothing but the list of an archive's members is read.
    """
    names = _members(file) if head.startswith(b"PK") else []
    if any(name.endswith("data.pkl") for name in names) or head[:1] == b"\x80":
        return "is a PyTorch file, not a checkpoint of gpucnn: convert it with " + _convert(
            file,
            "import numpy, torch",
            "torch.load({source!r}, map_location='cpu', weights_only=True)",
            # Checkpoints often hold the state_dict under this name, and DataParallel adds a prefix.
            "{k.removeprefix('module.'): v.float().numpy() for k, v in s.get('state_dict', s)"
            ".items()}",
        )
    if file.suffix == ".safetensors" or head[5:] == _SAFETENSORS:
        command = ["gpucnn", "import", str(file), str(file.with_suffix(".npz"))]
        return (
            "is a safetensors file, not a checkpoint of gpucnn: make one of it with: "
            + shlex.join(command)
        )
    if file.suffix == ".onnx":
        return (
            "is an ONNX file, which gpucnn writes but does not read: save the state_dict of the "
            "network where it was trained as .safetensors or .npz, and use gpucnn import"
        )
    if head.startswith(_HDF5) or any(name.endswith(".weights.h5") for name in names):
        return (
            "is a Keras file, not a checkpoint of gpucnn: save its weights with numpy.savez under "
            "the names and in the shapes of model.state_dict(), kernels (h, w, in, out) with "
            ".transpose(3, 2, 0, 1), dense kernels with .T"
        )
    arrays = [name.removesuffix(".npy") for name in names if name.endswith(".npy")]
    if arrays and "metadata" not in arrays:
        return _describe_arrays(file, arrays)
    if head.startswith(b"PK"):
        return "is damaged or incomplete: its SHA-256 does not match"
    return f"is not a checkpoint: it begins with {head[:8]!r}"


def is_weights(file: Path) -> bool:
    """Return whether a file begins as files of weights do, those of gpucnn and of others."""
    head = _head(file)
    return head.startswith((b"PK", b"\x80", _HDF5)) or head[5:] == _SAFETENSORS


def is_safetensors(file: Path) -> bool:
    """Return whether a file is called ``*.safetensors``, or begins as one."""
    return file.suffix == ".safetensors" or _head(file)[5:] == _SAFETENSORS


def _head(file: Path) -> bytes:
    """Return the first nine bytes of a file, none of what is not a regular file."""
    try:
        if file.is_file():
            with file.open("rb") as stream:
                return stream.read(9)
    except OSError:
        pass
    return b""


def is_state_archive(file: Path) -> bool:
    """Return whether ``file`` is an .npz file with the arrays of a ``state_dict``."""
    names = _members(file)
    keys = [name.removesuffix(".npy") for name in names if name.endswith(".npy")]
    return bool(keys) and len(keys) == len(names) and not {"metadata", "x_train"} & set(keys)


def _describe_arrays(file: Path, arrays: list[str]) -> str:
    more = ", ..." if len(arrays) > _NAMES_SHOWN else ""
    found = f"is not a checkpoint: it holds the arrays {', '.join(arrays[:_NAMES_SHOWN])}{more}"
    if "x_train" in arrays:
        return f"{found} of a data set; give it with --data"
    return (
        f"{found} without the layers of a model; load them with gpucnn.load_weights(model, "
        f"{str(file)!r}), or make a model of them with: "
        + shlex.join(["gpucnn", "import", str(file), f"{file.stem}-model.npz", "--model", "NAME"])
    )


def _members(file: Path) -> list[str]:
    """Return the names in a zip archive; none if it is damaged, or a pipe or a device."""
    import zipfile

    if not file.is_file():
        return []
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.namelist()
    except Exception:  # see gpucnn.data.formats.archive: a damaged archive raises anything
        return []


def _convert(file: Path, imports: str, load: str, arrays: str) -> str:
    """Return the shell command that writes ``arrays``, of what was loaded as s, to a new file."""
    target = str(file.with_name(f"{file.stem}-converted.npz"))
    code = f"{imports}; s = {load.format(source=str(file))}; numpy.savez({target!r}, **{arrays})"
    return "python -c " + shlex.quote(code)
