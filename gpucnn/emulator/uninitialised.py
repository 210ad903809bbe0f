"""Marks the local variables of a source that may be read before they are written.

Check mode follows the bytes of a local variable only if it is declared without an initializer and
the next use is not a plain assignment of all of it: ``watch`` adds an object to the source that
reports the lifetime of such a variable to the runtime. All other local variables stay in registers,
so that most kernels are not slowed down.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"(?P<skip>\s+|//[^\n]*|/\*.*?\*/|\\\n)"
    r'|(?P<text>R"\((?:.|\n)*?\)"|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\')'
    r"|(?P<word>[A-Za-z_]\w*)|(?P<number>\.?\d(?:[\w.']|[eEpP][+-])*)"
    r"|(?P<sign><<=|>>=|::|->|\+\+|--|&&|\|\||[-+*/%&|^=!<>]=|.)",
    re.DOTALL,
)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", re.MULTILINE)
_FUNDAMENTAL = set(
    re.findall(
        r"\w+",
        "bool char short int long float double unsigned signed half size_t ptrdiff_t int8_t int16_t"
        " int32_t int64_t uint8_t uint16_t uint32_t uint64_t uint uchar ushort",
    )
)
_VECTOR = re.compile(r"(?:u?(?:char|short|int|long|longlong)|float|double)[1-4]")
_NO_TYPES = set(
    re.findall(
        r"\w+",
        "return if for while do else switch case default break continue goto using typedef static"
        " extern thread_local __shared__ constexpr asm delete new throw struct class union enum"
        " const template namespace friend public private protected auto operator sizeof this"
        " __constant__ __device__ __global__ volatile void",
    )
)


@dataclass(frozen=True)
class _Token:
    text: str
    end: int  # its position in the source
    is_word: bool


@dataclass(frozen=True)
class _Variable:
    name: str
    dimensions: tuple[str, ...]
    plain: bool  # of a fundamental type or one of CUDA's vectors
    vector: bool


def _tokens(code: str) -> list[_Token]:
    blank = _DIRECTIVE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), code)
    found = []
    for match in _TOKEN.finditer(blank):
        if match.lastgroup != "skip":
            found.append(_Token(match.group(), match.end(), match.lastgroup == "word"))
    return found


def _closing(texts: list[str], start: int) -> int:
    """Return the index of the bracket that closes the one at ``start``."""
    pairs = {"(": ")", "[": "]", "{": "}", "<": ">"}
    opening, closing = texts[start], pairs[texts[start]]
    depth = 0
    for index in range(start, len(texts)):
        depth += (texts[index] == opening) - (texts[index] == closing)
        if depth == 0:
            return index
        if opening == "<" and texts[index] in ";{}":
            break
    return len(texts) - 1


def _type(texts: list[str], words: list[bool], start: int, end: int) -> tuple[int, bool, bool]:
    """Return where the type of a declaration ends, and whether it is plain, and a vector.

    The first is ``start`` if no type is there.
    """
    at = start
    while at < end and texts[at] in _FUNDAMENTAL:
        at += 1
    if at > start:
        return at, True, False
    if not words[at] or texts[at] in _NO_TYPES:
        return start, False, False
    vector = bool(_VECTOR.fullmatch(texts[at]))
    at += 1
    while at < end and texts[at] in ("<", "::"):
        at = _closing(texts, at) + 1 if texts[at] == "<" else at + 2
    return at, vector, vector


def _declared(texts: list[str], words: list[bool], start: int, end: int) -> list[_Variable]:
    """Return the variables without an initializer that the statement [start, end) declares."""
    at, plain, vector = _type(texts, words, start, end)
    found: list[_Variable] = []
    if at == start:
        return []
    while at < end:
        pointer = texts[at] == "*"
        while at < end and texts[at] == "*":
            at += 1
        if at >= end or not words[at] or texts[at] in _NO_TYPES:
            return []
        name, dimensions = texts[at], []
        at += 1
        while at < end and texts[at] == "[":
            close = _closing(texts, at)
            dimensions.append("".join(texts[at + 1 : close]))
            at = close + 1
        if at >= end or texts[at] == ",":
            found.append(
                _Variable(name, tuple(dimensions), plain or pointer, vector and not pointer)
            )
        elif texts[at] not in ("=", "(", "{"):
            return []
        while at < end and texts[at] != ",":
            at = _closing(texts, at) + 1 if texts[at] in "([{" else at + 1
        at += 1
    return found


class _Use:
    """The first use of a variable after its declaration."""

    def __init__(self, texts: list[str], start: int, name: str) -> None:
        """start: the index after the declaration."""
        self.texts, self.name = texts, name
        self.loops: list[str] = []  # the headers of the ``for`` statements around the use
        self.guarded = False  # the use depends on another condition
        self.at = -1
        self._find(start)

    def _find(self, start: int) -> None:
        opened: list[tuple[str, bool]] = []  # headers of open braces, whether of a for statement
        at, texts = start, self.texts
        while at < len(texts):
            text = texts[at]
            if text == "{":
                opened.append(self._header(at))
            elif text == "}":
                if not opened:
                    return
                opened.pop()
            elif text == self.name and texts[at - 1] not in (".", "->", "::"):
                self.at = at
                break
            at += 1
        if self.at < 0:
            return
        for header, is_loop in opened:
            self.loops.append(header)
            self.guarded |= not is_loop
        self._statement_headers()

    def _header(self, brace: int) -> tuple[str, bool]:
        """Return the text of the for statement whose body begins at a brace."""
        before = self.texts[brace - 1]
        if before in (";", "{", "}"):
            return "", True  # a plain block
        opening = self._opening(brace - 1) if before == ")" else -1
        if opening > 0 and self.texts[opening - 1] == "for":
            return " ".join(self.texts[opening + 1 : brace - 1]), True
        return "", False

    def _opening(self, close: int) -> int:
        depth = 0
        for index in range(close, -1, -1):
            depth += (self.texts[index] == ")") - (self.texts[index] == "(")
            if depth == 0:
                return index
        return -1

    def _statement_headers(self) -> None:
        """Add the for statements without braces before the use."""
        before = self.at - 1
        while self.texts[before] == ")":
            opening = self._opening(before)
            if opening <= 0 or self.texts[opening - 1] != "for":
                self.guarded = True
                return
            self.loops.append(" ".join(self.texts[opening + 1 : before]))
            before = opening - 2
        self.start = before + 1  # of the statement, if it begins with the use
        self.guarded |= self.texts[before] not in (";", "{", "}", ":", ",", "(", "=")
        self.before = self.texts[before]

    def rest(self) -> list[str]:
        """Return the tokens from the use to the end of its statement."""
        end = self.at
        while end < len(self.texts) and self.texts[end] not in (";", "{", "}"):
            end += 1
        return self.texts[self.at : end]


def _is_argument(use: _Use) -> bool:
    """Return whether the use passes the variable itself to a function, which may write it."""
    texts, at = use.texts, use.at
    if texts[at + 1] not in (",", ")") or texts[at - 1] not in (",", "("):
        return False
    depth = 0
    for index in range(at - 1, 0, -1):
        if texts[index] in (";", "{", "}"):
            return False
        depth += (texts[index] == ")") - (texts[index] == "(")
        if depth < 0:
            named = re.fullmatch(r"[A-Za-z_]\w*|>", texts[index - 1])
            return bool(named) and texts[index - 1] not in (
                "if",
                "while",
                "for",
                "switch",
                "sizeof",
            )
    return False


def _in_for_header(use: _Use) -> bool:
    """Return whether the use is ``for (name =`` or ``for (other = 0, name =``, outside branches."""
    texts, index = use.texts, use.at - 1
    depth = 0
    while index > 0 and texts[index] not in (";", "{", "}"):
        depth += (texts[index] == ")") - (texts[index] == "(")
        if depth < 0:
            return texts[index - 1] == "for" and texts[index - 2] in (";", "{", "}")
        index -= 1
    return False


def _is_assigned(variable: _Variable, use: _Use) -> bool:
    """Return whether the first use certainly writes all of a variable, and does not read it."""
    if use.at < 0:
        return True  # never used
    if _is_argument(use) and (variable.dimensions or not variable.plain):
        return True
    rest = use.rest()
    if variable.name in rest[1:]:
        return False
    if variable.dimensions:
        after = 1
        for _ in variable.dimensions:
            if rest[after : after + 1] != ["["]:
                return False
            after = _closing(rest, after) + 1
        if rest[after : after + 1] != ["="] or use.guarded or use.before in (",", "(", "="):
            return False
        return _covers(variable.dimensions, use.loops)
    if rest[1:2] != ["="] or use.guarded:
        return False
    if any(use.loops):
        return False
    return use.before in (";", "{", "}", ":") or _in_for_header(use)


def _covers(dimensions: tuple[str, ...], loops: list[str]) -> bool:
    """Return whether there is a loop from 0 to each of the dimensions."""
    bounds = []
    for loop in loops:
        found = re.fullmatch(
            r"(?:\w+ )*(\w+) = 0 ; \1 < (.*?) ; (?:\+\+ \1|\1 \+\+|\1 \+= 1)", loop
        )
        if found:
            bounds.append(found.group(2).replace(" ", ""))
    for dimension in dimensions:
        if dimension not in bounds:
            return False
        bounds.remove(dimension)
    return True


def _takes_results(texts: list[str], start: int, name: str) -> bool:
    """Return whether a function's result is assigned to the variable: g++ hides that store."""
    depth = 0
    for at in range(start, len(texts) - 3):
        depth += (texts[at] == "{") - (texts[at] == "}")
        if depth < 0:
            return False
        called = texts[at + 3] in ("(", "<") and not texts[at + 2].startswith("make_")
        if texts[at] == name and texts[at + 1] == "=" and called:
            return bool(re.fullmatch(r"[A-Za-z_]\w*", texts[at + 2]))
    return False


def _is_shuffled(texts: list[str], start: int, name: str) -> bool:
    """Return whether the variable is passed to a shuffle: often one lane alone has set it."""
    depth = 0
    for at in range(start, len(texts) - 1):
        depth += (texts[at] == "{") - (texts[at] == "}")
        if depth < 0:
            return False
        called = "shfl" in texts[at] and texts[at + 1] == "("
        if called and name in texts[at : _closing(texts, at + 1)]:
            return True
    return False


def _kind_of_scope(texts: list[str], start: int, brace: int, parent: str) -> str:
    """Return the kind of the scope that a brace opens: "code", "switch" or "other".

    "other" is a namespace, a type or an initializer. ``start``: of the statement before the brace.
    """
    header = texts[start:brace]
    before = texts[brace - 1] if brace else ""
    if "constexpr" in header and "if" not in header:
        return "other"
    if header[:1] == ["switch"]:
        return "switch"
    if "(" not in header and {"struct", "class", "union", "enum", "namespace"} & set(header):
        return "other"
    if before in (")", "else", "do", "const", "noexcept", "mutable"):
        return "code"
    if "->" in header and ")" in header:
        return "code"
    if parent in ("code", "switch") and before in (";", "{", "}", "]", ":"):
        return "code"
    return "other"


def _statements(tokens: list[_Token]) -> Iterator[tuple[int, int]]:
    """Yield the statements directly in a block of a function, as ranges of tokens without ``;``."""
    texts = [token.text for token in tokens]
    scopes, start, depth = ["other"], 0, 0
    for at, text in enumerate(texts):
        depth += (text in "([") - (text in ")]")
        if text == "{":
            scopes.append(_kind_of_scope(texts, start, at, scopes[-1]))
            start = at + 1
        elif text == "}":
            if len(scopes) > 1:
                scopes.pop()
            start = at + 1
        elif text == ";":
            if depth == 0 and scopes[-1] == "code" and at > start:
                yield start, at
            if depth == 0:
                start = at + 1
        elif text == ":" and at > start and texts[start] in ("public", "private", "protected"):
            start = at + 1


def watch(code: str) -> str:
    """Return the source with a ``gpu_local`` object for each variable that may be read unset.

    Lines keep their numbers. Headers that the source includes are not read.
    """
    tokens = _tokens(code)
    texts, words = [token.text for token in tokens], [token.is_word for token in tokens]
    parts, copied, count = [], 0, 0
    for start, end in _statements(tokens):
        for variable in _declared(texts, words, start, end):
            if _is_assigned(variable, _Use(texts, end + 1, variable.name)):
                continue
            if _is_shuffled(texts, end + 1, variable.name):
                continue
            structured = variable.vector or not variable.plain
            if structured and _takes_results(texts, end + 1, variable.name):
                continue
            parts.append(code[copied : tokens[end].end])
            copied = tokens[end].end
            count += 1
            parts.append(f' gpu_local gpu_local_{count}({variable.name}, "{variable.name}");')
    return "".join([*parts, code[copied:]])
