"""Compares the fields of a kernel's structs with those of NumPy's dtypes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np

from gpucnn.emulator.signatures import TOKEN, scope_of

Field = tuple[str, int, int]
"""Kind (that of NumPy's dtypes; 's' for a struct, 'p' for a pointer), offset and bytes."""

_VECTOR = re.compile(r"\b((?:u?(?:char|short|int|long|longlong)|float|double)([1-4]))\b")
_STRUCT = re.compile(
    r"\b(?:struct|class)\s+(?:__align__\s*\([^)]*\)\s*|alignas\s*\([^)]*\)\s*)?(\w+)?\s*$"
)
_UNREADABLE = re.compile(r"\b(?:union|operator|static|friend|using|typedef)\b|:")


def find_structs(code: str, mentioned: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the names of the fields of the structs that the texts in ``mentioned`` name.

    Structs that are templates, have a base, or are not at the level of namespaces are left out.
    """
    words = set(re.findall(r"\w+", " ".join(mentioned)))
    found = {name: tuple("xyzw"[: int(size)]) for name, size in _VECTOR.findall(" ".join(words))}
    for name, body in _structs(code):
        if name.rpartition("::")[2] in words:
            fields = _fields(body)
            if fields:
                found[name] = fields
    return found


def _structs(code: str) -> Iterator[tuple[str, str]]:
    """Yield names and bodies of the structs at the level of namespaces."""
    scopes: list[str | None] = []
    opened: list[int] = []
    last = 0
    for match in TOKEN.finditer(code):
        token = match.group()
        if token not in "{};":
            continue
        if token == "{":
            scopes.append(scope_of(code[last : match.start()]))
            opened.append(last)
        elif token == "}" and scopes:
            scopes.pop()
            start = opened.pop()
            head, _, body = code[start : match.start()].partition("{")
            struct = _STRUCT.search(head)
            if struct and None not in scopes and "template" not in head:
                after = re.match(r"\s*(\w+)\s*;", code[match.end() :])
                own = after[1] if "typedef" in head and after else struct[1]
                if own:
                    spaces = (scope for scope in scopes if scope and not scope.startswith("extern"))
                    yield "".join(spaces) + own, body
        last = match.end()


def _fields(body: str) -> tuple[str, ...]:
    """Return the names of a struct's fields; none if its body has something unusual."""
    body = re.sub(r"\b(?:public|private|protected)\s*:", ";", body)
    while "{" in body:
        shorter = re.sub(r"\{[^{}]*\}", ";", body)
        if shorter == body:
            return ()
        body = shorter
    names: list[str] = []
    for declaration in body.split(";"):
        if "(" in declaration or not declaration.strip():
            continue
        if _UNREADABLE.search(declaration.replace("::", "")):
            return ()
        plain = re.sub(r"<[^<>]*>", "", declaration)
        for part in plain.split(","):
            words = re.findall(r"[A-Za-z_]\w*", part.split("[")[0].split("=")[0])
            if not words:
                return ()
            names.append(words[-1])
    return tuple(names)


def _leaves(dtype: np.dtype, start: int = 0) -> Iterator[Field]:
    """Yield the numbers in a dtype, in order; nothing for bytes of no type."""
    if dtype.subdtype:
        element, shape = dtype.subdtype
        for index in range(int(np.prod(shape))):
            yield from _leaves(element, start + index * element.itemsize)
    elif dtype.fields:
        for kind, offset, *_ in dtype.fields.values():
            yield from _leaves(kind, start + offset)
    elif dtype.kind == "c":
        half = dtype.itemsize // 2
        yield from (("f", start, half), ("f", start + half, half))
    elif dtype.kind in "fiub":
        yield dtype.kind, start, dtype.itemsize


def difference(dtype: np.dtype, fields: tuple[Field, ...]) -> str:
    """Return how a dtype differs from a struct of the same size; empty if it does not.

    Signed and unsigned integers are interchangeable; what is inside other structs is not compared.
    """
    given = {(offset, size): kind for kind, offset, size in _leaves(dtype)}
    if not given or not fields or any(kind == "?" for kind, _, _ in fields):
        return ""
    for kind, offset, size in fields:
        if kind in "sp":
            continue
        found = given.get((offset, size), "")
        if found != kind and {found, kind} != {"i", "u"}:
            known = next(
                (f"{kind}{size}" for (at, size), kind in given.items() if at == offset), "nothing"
            )
            return f"at byte {offset} it has {kind}{size}, and the dtype {known}"
    return ""
