"""Reads the declarations of a preprocessed source that check mode needs."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WIDE = re.compile(r"\b(?:double\w*|long|longlong\d|u?int64_t|size_t|ptrdiff_t)\b|\*")
_NARROW = re.compile(r"\b(?:bool|char|short|int|unsigned|float|[a-z]*int(?:8|16|32)_t|half)\b")


def matching(text: str, start: int, brackets: str) -> int | None:
    """Return the position after the bracket that closes the one at ``start``, None without one.

    ``brackets``: the opening and the closing one, "()" or "{}".
    """
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] == brackets[0]) - (text[position] == brackets[1])
        if depth == 0:
            return position + 1
    return None


def has_padding(code: str) -> bool:
    """Return whether a struct of the source may have padding of four bytes or more.

    It has if it is aligned by an attribute, or has members of eight bytes and smaller ones.
    """
    for match in re.finditer(
        r"\b(?:struct|class|union)\b([^;{}()=]*(?:\([^;{}]*\))?[^;{}()=]*)\{", code
    ):
        if re.search(r"\b(?:alignas|__align__|aligned)\b", match.group(1)):
            return True
        body = code[match.end() : matching(code, match.end() - 1, "{}")]
        members = [part for part in re.split(r"[;{}]", body) if "(" not in part]
        wide = [part for part in members if _WIDE.search(part)]
        if wide and any(_NARROW.search(part) for part in members if part not in wide):
            return True
    return False


def _declarators(text: str) -> Iterator[str]:
    """Yield the parts of a declaration between commas, without initialisers."""
    depth, part = 0, ""
    for character in text:
        depth += (character in "([{<") - (character in ")]}>")
        if character == "," and depth == 0:
            yield part.split("=")[0]
            part = ""
        else:
            part += character
    yield part.split("=")[0]


def find_constants(code: str) -> list[str]:
    """Return the names of the ``__constant__`` variables."""
    names = []
    for match in re.finditer(r"\b__constant__\b", code):
        end = match.end()
        while end < len(code) and code[end] != ";":
            end = matching(code, end, "{}") or len(code) if code[end] == "{" else end + 1
        text = re.sub(r"__align__\s*\(.*?\)", "", code[match.end() : end])
        for declarator in _declarators(text):
            words = re.findall(r"[A-Za-z_]\w*", re.split(r"[\[{]", declarator)[0])
            names += words[-1:]
    return names


def variable_name(symbol: str) -> str:
    """Return the name of a variable from its symbol: ``table`` from ``_ZN5utils5tableE``."""
    text = re.fullmatch(r"_ZN?L?(.*?)E?", symbol)
    name, rest = symbol, text.group(1) if text else ""
    while True:
        length = re.match(r"L?(\d+)", rest)
        if not length:
            return name
        end = length.end() + int(length.group(1))
        name, rest = rest[length.end() : end], rest[end:]
