"""What the readers share: errors of the operating system, listings, limits on unpacking."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gpucnn.errors import DataError

# Deflate, the method of .gz and .npz files, packs at most 258 bytes into 2 bits: 1032 to 1.
_DEFLATE_RATIO = 1032
# Above this unpacked size the limit is a ratio that no set of real images reaches.
_LARGE, _LARGE_RATIO = 1 << 28, 200


def unreadable(path: Path | str, error: OSError) -> DataError:
    """Return the DataError for a file or a folder that the operating system does not read."""
    return DataError(f"{path} cannot be read: {error.strerror or error}")


def list_folder(folder: Path) -> list[Path]:
    """Return the entries of a folder, sorted by name; DataError if it cannot be read."""
    try:
        found = list(folder.iterdir())
    except OSError as error:
        raise unreadable(folder, error) from None
    # By name: paths compare differently on different systems.
    return sorted(found, key=lambda path: path.name)


def format_sides(shape: Iterable[int]) -> str:
    """Return a shape as in messages: ``3x28x28``."""
    return "x".join(str(side) for side in shape)


def check_packing(what: str, unpacked: int, packed: int) -> None:
    """Raise DataError if ``packed`` bytes of deflated images cannot hold ``unpacked`` ones.

    Such a file is damaged, or made to exhaust memory. The header alone is enough to refuse it.
    """
    ratio = _DEFLATE_RATIO if unpacked <= _LARGE else _LARGE_RATIO
    if unpacked > ratio * packed:
        raise DataError(
            f"{what} declares {unpacked} unpacked bytes, but {packed} packed bytes hold at most"
            f" {ratio * packed}: the file is damaged"
        )
