"""Opening image files: their format is recognised by their content, whatever their name."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING

from gpucnn.config import import_extra
from gpucnn.data.files import open_file
from gpucnn.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

# Tried first: the others need all of Pillow's modules, which take a tenth of a second to import.
_COMMON = ("JPEG", "PNG", "GIF", "BMP", "PPM")
# Not tried: drawings and containers whose decoders run other programs or are not part of Pillow.
_NOT_IMAGES = frozenset(
    {"BUFR", "EPS", "FITS", "FPX", "GRIB", "HDF5", "IPTC", "MCIDAS", "MIC", "MPEG", "SPIDER", "WMF"}
)
# These have no mark at their beginning: other files could be taken for them.
_BY_SUFFIX = {"TGA": (".tga", ".icb", ".vda", ".vst"), "PCD": (".pcd",)}

_SUFFIXES = frozenset(
    {".avif", ".bmp", ".cr2", ".cr3", ".dib", ".dng", ".gif", ".heic", ".heif", ".ico", ".jfif"}
    | {".jp2", ".jpe", ".jpeg", ".jpg", ".jxl", ".nef", ".pbm", ".pcx", ".pgm", ".png", ".pnm"}
    | {".ppm", ".psd", ".qoi", ".tga", ".tif", ".tiff", ".webp"}
)
_MARKS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*", b"8BPS")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")

_ORIENTATION = 0x0112  # the EXIF tag; values from 5 rotate the image by a quarter turn


def has_image_suffix(path: Path | str) -> bool:
    """Return whether the name of a file is that of an image."""
    return Path(path).suffix.lower() in _SUFFIXES


class NotAnImage(DataError):
    """A file is not an image, and its name is not an image's either."""


ImageSource = str | os.PathLike[str] | bytes | IO[bytes]
"""An image file: its path, its bytes, or the file opened for reading bytes."""


@contextmanager
def open_image(source: ImageSource, name: str = "the image") -> Iterator[Image]:
    """Open an image file; any error until the end of the block becomes a DataError.

    A file that is passed open stays open; it and bytes are called ``name`` in errors.

    Raises:
        NotAnImage: neither the content nor the name of the file is an image's.
        DataError: a damaged image, one with too many pixels, or not a file.
        SettingError: Pillow is not installed.
    """
    module = pillow()
    path = os.fspath(source) if isinstance(source, str | os.PathLike) else name
    try:
        with quiet, _opened(source) as file, _identify(module, path, file) as image:
            image.filename = path  # type: ignore[attr-defined]
            _check_pixels(module, path, image)
            yield image
    except DataError:
        raise
    except module.DecompressionBombError:
        raise _too_many_pixels(module, path) from None
    # Decoders raise many types for broken data: SyntaxError, struct.error, ...
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{path} cannot be read: {reason}") from None


@contextmanager
def _opened(source: ImageSource) -> Iterator[IO[bytes]]:
    if isinstance(source, bytes):
        yield BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        with open_file(Path(source)) as file:
            yield file
    else:
        yield source


class _Silence:
    """Silences warnings while at least one thread is within ``with``."""

    def __init__(self) -> None:
        self.lock, self.users = threading.Lock(), 0

    def __enter__(self) -> None:
        with self.lock:
            if not self.users:
                # Filters of warnings belong to the process, so the last thread restores them.
                self.filters = warnings.catch_warnings()
                self.filters.__enter__()
                warnings.simplefilter("ignore")
            self.users += 1

    def __exit__(self, *exception: object) -> None:
        with self.lock:
            self.users -= 1
            if not self.users:
                self.filters.__exit__(None, None, None)


quiet = _Silence()
"""Silences Pillow's warnings about unusual metadata, which do no harm here."""


def pillow() -> ModuleType:
    """Return the module ``PIL.Image``; SettingError if Pillow is not installed."""
    return import_extra("PIL.Image", "Pillow", "reading images", "images")


def upright_size(image: Image) -> tuple[int, int]:
    """Return (height, width) of an image after the rotation that its EXIF data asks for."""
    width, height = image.size
    return (width, height) if image.getexif().get(_ORIENTATION, 1) >= 5 else (height, width)


def _identify(module: ModuleType, path: Path | str, file: IO[bytes]) -> Image:
    """Return the image in ``file``, not decoded yet."""
    with suppress(module.UnidentifiedImageError):
        image: Image = module.open(file, formats=_COMMON)
        return image
    module.init()
    with suppress(ImportError):  # adds HEIC to Pillow's formats
        pillow_heif = import_module("pillow_heif")
        pillow_heif.register_heif_opener()
    suffix = Path(path).suffix.lower()
    others = [
        name
        for name in module.ID
        if name not in _COMMON
        and name not in _NOT_IMAGES
        and suffix in _BY_SUFFIX.get(name, (suffix,))
    ]
    with suppress(module.UnidentifiedImageError):
        image = module.open(file, formats=others)
        return image
    file.seek(0)
    start = file.read(12)
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS:
        raise DataError(f"{path} is a HEIC image, which needs: pip install pillow-heif")
    if has_image_suffix(path) or start.startswith(_MARKS):
        raise DataError(f"{path} is not an image, or is damaged")
    raise NotAnImage(f"{path} is not an image")


def _check_pixels(module: ModuleType, path: Path | str, image: Image) -> None:
    limit = module.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise _too_many_pixels(module, path)


def _too_many_pixels(module: ModuleType, path: Path | str) -> DataError:
    return DataError(f"{path} has more than {module.MAX_IMAGE_PIXELS} pixels")
