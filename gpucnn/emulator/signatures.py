"""Finds the kernels that a preprocessed CUDA source declares, with their scopes and parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from gpucnn.emulator.declarations import matching
from gpucnn.emulator.errors import CompileError


@dataclass(frozen=True)
class Signature:
    """A kernel as its source declares it.

    name: with its namespaces, as C++ names it; ``f<float>`` for an instance of a template.
    parameters: their names.
    restrict: which of them are declared __restrict__.
    bounds: the arguments of __launch_bounds__ as C++; may be empty.
    is_c: whether it is extern "C", so that CuPy finds it by its name.
    template: the names of the template's parameters, those of values in parentheses; None for a
    function.
    defined: whether the declaration has a body.
    types: the declarations of the parameters.
    """

    name: str
    parameters: tuple[str, ...]
    restrict: tuple[bool, ...]
    bounds: str
    is_c: bool = True
    template: tuple[str, ...] | None = None
    defined: bool = True
    types: tuple[str, ...] = ()


def _matching(text: str, start: int, where: str) -> int:
    """Return the position after the parenthesis that closes the one at ``start``."""
    end = matching(text, start, "()")
    if end is None:
        raise CompileError(f"a parenthesis after {where} is not closed")
    return end


def _split(text: str) -> list[str]:
    """Split at the commas outside brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "(<[{") - (character in ")>]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip() not in ("", "void")]


def _name_of(parameter: str, index: int) -> str:
    """Return the name in ``const float* __restrict__ x = 0``; without a name, a numbered one."""
    words = re.findall(r"[A-Za-z_]\w*", parameter.split("=")[0].split("[")[0])
    types = {"int", "unsigned", "float", "double", "char", "short", "long", "bool", "__restrict__"}
    if len(words) < 2 or words[-1] in types:
        return f"argument{index}"
    return str(words[-1])


_NUMBERED = tuple(f"argument{index}" for index in range(64))
"""Names of parameters that have none, or that a parameter pack stands for."""

# Literals may contain braces; a quote within a number separates digits.
TOKEN = re.compile(
    r'R"(?P<mark>[^(\s]*)\(.*?\)(?P=mark)"|"(?:\\.|[^"\\])*"|(?<!\w)\'(?:\\.|[^\'\\])+\''
    r"|[{};]|\b__global__\b",
    re.DOTALL,
)
_NAMESPACE = re.compile(r"\bnamespace\b\s*((?:\w+\s*::\s*)*\w+)?[^=]*$")


def scope_of(head: str) -> str | None:
    """Return the prefix of names that a brace after ``head`` opens; None inside other code."""
    if re.search(r'\bextern\s*"C"\s*$', head):
        return 'extern "C"'
    found = _NAMESPACE.search(head)
    if not found:
        return None
    return re.sub(r"\s", "", found[1]) + "::" if found[1] else ""


def _template_parameters(head: str) -> tuple[str, ...] | None:
    """Return ``T`` and ``(size)`` of ``template <typename T, int size = 3>``: types and values.

    None where there is no template.
    """
    found = re.search(r"\btemplate\s*<(.*)>", head, re.DOTALL)
    if not found:
        return None
    parameters = [re.findall(r"\w+", part.split("=")[0]) for part in _split(found[1])]
    return tuple(
        words[-1] if words[0] in ("typename", "class") else f"({words[-1]})"
        for words in parameters
        if words
    )


def _declarations(code: str) -> Iterator[Signature]:
    """Yield every declaration of a kernel at the level of namespaces."""
    scopes: list[str | None] = []
    last = 0  # after the last brace or semicolon
    for match in TOKEN.finditer(code):
        token = match.group()
        if token == "__global__":
            if None not in scopes:
                found = _declaration(code, match, code[last : match.start()], scopes)
                if found:
                    yield found
        elif token in "{};":
            if token == "{":
                scopes.append(scope_of(code[last : match.start()]))
            elif token == "}" and scopes:
                scopes.pop()
            last = match.end()


def _declaration(
    code: str, keyword: re.Match[str], head: str, scopes: list[str | None]
) -> Signature | None:
    """Return the kernel whose declaration contains ``keyword``, or None for a specialization."""
    template = _template_parameters(head)
    if template == () or (template is None and re.search(r"\btemplate\b", head)):
        return None
    rest, bounds = code[keyword.end() :], ""
    limit = re.match(r"[^({;]*?\b__launch_bounds__\s*", rest)
    if limit:
        end = _matching(rest, limit.end(), "__launch_bounds__")
        bounds = rest[limit.end() + 1 : end - 1].strip()
        rest = rest[: limit.start()] + rest[end:]
    name = re.match(r"[^({;]*?\b(\w+)\s*(?=\()", rest)
    if not name:
        return None
    end = _matching(rest, name.end(), name[1])
    parameters = _split(rest[name.end() + 1 : end - 1])
    names = [_name_of(parameter, index) for index, parameter in enumerate(parameters)]
    restrict = ["__restrict__" in parameter for parameter in parameters]
    if any("..." in parameter for parameter in parameters):
        names += _NUMBERED[len(names) :]
        restrict += [restrict[-1]] * len(_NUMBERED)
    is_c = 'extern "C"' in scopes or bool(re.search(r'\bextern\s*"C"', head + name[0]))
    spaces = "".join(scope for scope in scopes if scope and not scope.startswith("extern"))
    return Signature(
        spaces + name[1],
        tuple(names),
        tuple(restrict),
        bounds,
        is_c,
        template,
        rest[end:].lstrip().startswith("{"),
        tuple(parameters),
    )


def find_kernels(code: str) -> list[Signature]:
    """Return the kernels of a preprocessed source, and the templates of kernels.

    Of overloaded kernels none is returned: only an expression can say which one is meant.
    """
    found: dict[str, Signature] = {}
    overloaded = set()
    for kernel in _declarations(code):
        earlier = found.get(kernel.name)
        if earlier and earlier.defined and kernel.defined:
            overloaded.add(kernel.name)
        if not earlier or kernel.defined:
            bounds = kernel.bounds or (earlier.bounds if earlier else "")
            found[kernel.name] = replace(kernel, bounds=bounds)
    return [kernel for name, kernel in found.items() if name not in overloaded]


def instantiate(expression: str, kernels: list[Signature]) -> Signature:
    """Return the kernel that a name expression such as ``f<float, 4>`` or ``ns::g`` refers to.

    Without a declaration of that name its parameters have none either.
    """
    expression = expression.strip().removeprefix("&").strip()
    base, _, arguments = expression.partition("<")
    wanted = re.sub(r"\s", "", base).removeprefix("::")
    for kernel in kernels:
        if kernel.name != wanted:
            continue
        bounds = kernel.bounds
        if kernel.template is not None:
            values = _split(arguments.rstrip().removesuffix(">"))
            names = [name.strip("()") for name in kernel.template]
            for name, form, value in zip(names, kernel.template, values, strict=False):
                bounds = re.sub(rf"\b{name}\b", form.replace(name, value), bounds)
            if any(re.search(rf"\b{name}\b", bounds) for name in names[len(values) :]):
                bounds = ""  # a default value
        return replace(kernel, name=expression, bounds=bounds)
    return Signature(expression, _NUMBERED, (False,) * len(_NUMBERED), "", is_c=False)
