"""Image files as bytes, also hostile ones."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image, ImageDraw


def seven(size: int = 280) -> bytes:
    """A PNG file with a drawn seven."""
    image, unit = Image.new("L", (size, size), 255), size / 280
    points = [(90 * unit, 60 * unit), (190 * unit, 60 * unit), (120 * unit, 220 * unit)]
    ImageDraw.Draw(image).line(points, fill=0, width=round(22 * unit))
    return encoded(image)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes, *others: bytes) -> bytes:
    """A grey PNG file that declares a size, whatever its pixels are."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(others) + body


def many_scans(side: int, count: int) -> bytes:
    """A progressive JPEG file whose last scan is there again and again: each takes time."""
    file = encoded(Image.new("L", (side, side), 90), "JPEG", progressive=True)
    last = file.rindex(b"\xff\xda")
    scan = file[last:-2]
    return file[:last] + scan * count + file[-2:]
