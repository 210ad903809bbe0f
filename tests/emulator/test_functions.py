"""CUDA's functions of numbers in kernels: exact where CUDA says so, otherwise to a few ulp."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest

from gpucnn import emulator
from gpucnn.emulator.compiled import Request
from gpucnn.emulator.options import parse

pytestmark = pytest.mark.usefixtures("needs_emulator")

TYPES = {"int": "i4", "unsigned": "u4", "long long": "i8", "unsigned long long": "u8",
         "float": "f4", "double": "f8"}  # fmt: skip


class Row(NamedTuple):
    """A function of CUDA, what it must return, and the types of its result and its parameters."""

    call: str
    wanted: Callable[..., Any]
    types: tuple[str, ...]


def row(call: str, types: str, wanted: Callable[..., Any]) -> Row:
    """types: letters of the result and the parameters: i, u, l, U, f, d."""
    names = dict(zip("iulUfd", TYPES, strict=True))
    return Row(call, wanted, tuple(names[letter] for letter in types))


def signed(value: int, bits: int = 32) -> int:
    value &= (1 << bits) - 1
    return value - (value >> (bits - 1) << bits)


def bytes_of(word: int) -> list[int]:
    return [word >> shift & 255 for shift in (0, 8, 16, 24)]


def byte_perm(x: int, y: int, s: int) -> int:
    source = [*bytes_of(x), *bytes_of(y)]
    return sum(source[s >> 4 * i & 7] << 8 * i for i in range(4))


def dot(a: list[int], b: list[int], c: int) -> int:
    return c + sum(x * y for x, y in zip(a, b, strict=True))


def halves(word: int, sign: bool) -> list[int]:
    parts = [word & 0xFFFF, word >> 16 & 0xFFFF]
    return [signed(part, 16) for part in parts] if sign else parts


def signed_bytes(word: int) -> list[int]:
    return [signed(byte, 8) for byte in bytes_of(word)]


INTEGERS = [
    row("__popc", "iu", int.bit_count),
    row("__popcll", "iU", int.bit_count),
    row("__clz", "ii", lambda x: 32 - (x & 0xFFFFFFFF).bit_length()),
    row("__clzll", "il", lambda x: 64 - (x & (1 << 64) - 1).bit_length()),
    row("__ffs", "ii", lambda x: (x & -x).bit_length()),
    row("__ffsll", "il", lambda x: (x & -x).bit_length()),
    row("__brev", "uu", lambda x: int(f"{x:032b}"[::-1], 2)),
    row("__brevll", "UU", lambda x: int(f"{x:064b}"[::-1], 2)),
    row("__byte_perm", "uuuu", byte_perm),
    row("__funnelshift_l", "uuuu", lambda a, b, s: ((b << 32 | a) << (s & 31)) >> 32),
    row("__funnelshift_lc", "uuuu", lambda a, b, s: ((b << 32 | a) << min(s, 32)) >> 32),
    row("__funnelshift_r", "uuuu", lambda a, b, s: (b << 32 | a) >> (s & 31)),
    row("__funnelshift_rc", "uuuu", lambda a, b, s: (b << 32 | a) >> min(s, 32)),
    row("__mulhi", "iii", lambda a, b: a * b >> 32),
    row("__umulhi", "uuu", lambda a, b: a * b >> 32),
    row("__mul64hi", "lll", lambda a, b: a * b >> 64),
    row("__umul64hi", "UUU", lambda a, b: a * b >> 64),
    row("__mul24", "iii", lambda a, b: signed(a, 24) * signed(b, 24)),
    row("__umul24", "uuu", lambda a, b: (a & 0xFFFFFF) * (b & 0xFFFFFF)),
    row("__sad", "uiiu", lambda a, b, c: abs(a - b) + c),
    row("__usad", "uuuu", lambda a, b, c: abs(a - b) + c),
    row("__hadd", "iii", lambda a, b: a + b >> 1),
    row("__rhadd", "iii", lambda a, b: a + b + 1 >> 1),
    row("__uhadd", "uuu", lambda a, b: a + b >> 1),
    row("__urhadd", "uuu", lambda a, b: a + b + 1 >> 1),
    row("__dp4a", "iiii", lambda a, b, c: dot(signed_bytes(a), signed_bytes(b), c)),
    row("__dp4a", "uuuu", lambda a, b, c: dot(bytes_of(a), bytes_of(b), c)),
    row("__dp2a_lo", "iiii", lambda a, b, c: dot(halves(a, True), signed_bytes(b)[:2], c)),
    row("__dp2a_hi", "iiii", lambda a, b, c: dot(halves(a, True), signed_bytes(b)[2:], c)),
    row("__dp2a_lo", "uuuu", lambda a, b, c: dot(halves(a, False), bytes_of(b)[:2], c)),
    row("__dp2a_hi", "uuuu", lambda a, b, c: dot(halves(a, False), bytes_of(b)[2:], c)),
    row("min", "uiu", lambda a, b: min(a & 0xFFFFFFFF, b)),
    row("max", "Ull", lambda a, b: max(a, b)),
    row("ullmax", "UUU", max),
    row("__double2hiint", "id", lambda x: int(np.float64(x).view(np.int64)) >> 32),
    row("__double2loint", "id", lambda x: int(np.float64(x).view(np.int64))),
    row("__hiloint2double", "dii", lambda a, b: np.uint64((a << 32 | b & 0xFFFFFFFF)
                                                          & (1 << 64) - 1).view(np.float64)),
]  # fmt: skip


# ----------------------------------------------------------------- elements within a word
def clamp(value: int, sign: str, bits: int) -> int:
    most = (1 << bits - (sign == "s")) - 1
    return min(max(value, -most - 1 if sign == "s" else 0), most)


def average(x: int, y: int) -> int:
    """Halves are rounded away from zero."""
    return (x + y + (x + y >= 0)) // 2


# By the name between __v and the number of elements: the sign of the operands' elements, and the
# result for two of them. `bits` is the size of an element.
SIMD: dict[str, tuple[str, Callable[[int, int, int], int]]] = {
    "abs": ("s", lambda x, _, bits: abs(x)),
    "absss": ("s", lambda x, _, bits: clamp(abs(x), "s", bits)),
    "neg": ("s", lambda x, _, bits: -x),
    "negss": ("s", lambda x, _, bits: clamp(-x, "s", bits)),
    "add": ("u", lambda x, y, bits: x + y),
    "addss": ("s", lambda x, y, bits: clamp(x + y, "s", bits)),
    "addus": ("u", lambda x, y, bits: clamp(x + y, "u", bits)),
    "sub": ("u", lambda x, y, bits: x - y),
    "subss": ("s", lambda x, y, bits: clamp(x - y, "s", bits)),
    "subus": ("u", lambda x, y, bits: clamp(x - y, "u", bits)),
    "avgs": ("s", lambda x, y, bits: average(x, y)),
    "avgu": ("u", lambda x, y, bits: average(x, y)),
    "haddu": ("u", lambda x, y, bits: (x + y) // 2),
    **{f"{name}{sign}": (sign, operation) for sign in "su" for name, operation in {
        "absdiff": lambda x, y, bits: abs(x - y),
        "max": lambda x, y, bits: max(x, y),
        "min": lambda x, y, bits: min(x, y),
    }.items()},
    **{f"{kind}{name}{sign}": (sign or "u", lambda x, y, _, t=true, f=test: t * f(x, y))
       for kind, true in (("cmp", -1), ("set", 1))
       for name, signs, test in (
           ("eq", ("",), operator.eq), ("ne", ("",), operator.ne), ("ge", "su", operator.ge),
           ("gt", "su", operator.gt), ("le", "su", operator.le), ("lt", "su", operator.lt))
       for sign in signs},
}  # fmt: skip


def elements(word: int, count: int, sign: str) -> list[int]:
    bits = 32 // count
    parts = [word >> bits * i & (1 << bits) - 1 for i in range(count)]
    return [signed(part, bits) for part in parts] if sign == "s" else parts


def simd(name: str, count: int) -> Row:
    sign, operation = SIMD[name]
    bits = 32 // count
    one = name.startswith(("abs", "neg")) and "diff" not in name

    def wanted(a: int, b: int = 0) -> int:
        pairs = zip(elements(a, count, sign), elements(b, count, sign), strict=True)
        results = [operation(x, y, bits) & (1 << bits) - 1 for x, y in pairs]
        return sum(result << bits * i for i, result in enumerate(results))

    return row(f"__v{name}{count}", "uu" if one else "uuu", wanted)


def differences(sign: str, count: int) -> Row:
    def wanted(a: int, b: int) -> int:
        pairs = zip(elements(a, count, sign), elements(b, count, sign), strict=True)
        return sum(abs(x - y) for x, y in pairs)

    return row(f"__vsad{sign}{count}", "uuu", wanted)


INTEGERS += itertools.starmap(simd, itertools.product(SIMD, (2, 4)))
INTEGERS += itertools.starmap(differences, itertools.product("su", (2, 4)))


# -------------------------------------------------------------------------- exact rounding
def digits_of(kind: str) -> tuple[int, int, int]:
    """Return a type's binary digits, its least exponent of the last digit, and its largest."""
    return (24, -149, 128) if kind == "float" else (53, -1074, 1024)


def nearest(exact: Fraction, step: Fraction, mode: str) -> Fraction:
    """Return a multiple of ``step``, rounded as rn, rz, ru or rd."""
    count, rest = divmod(exact, step)
    if mode == "rn":
        up = 2 * rest > step or (2 * rest == step and count % 2 == 1)
    else:
        up = rest > 0 and (mode == "ru" or (mode == "rz" and exact < 0))
    return (count + up) * step


def rounded(exact: Fraction, kind: str, mode: str, flush: bool) -> float:
    """Round an exact number to a type; the sign of zero is that of an exact zero, +0."""
    digits, least, most = digits_of(kind)
    if not exact:
        return 0.0
    exponent = abs(exact).numerator.bit_length() - abs(exact).denominator.bit_length()
    while abs(exact) >= Fraction(2) ** exponent:
        exponent += 1
    while abs(exact) < Fraction(2) ** (exponent - 1):
        exponent -= 1
    found = nearest(exact, Fraction(2) ** max(exponent - digits, least), mode)
    if abs(found) >= Fraction(2) ** most:
        outwards = mode == "rn" or mode == ("ru" if exact > 0 else "rd")
        limit = (
            math.inf
            if outwards
            else float((2 - Fraction(2) ** (1 - digits)) * Fraction(2) ** (most - 1))
        )
        return limit if exact > 0 else -limit
    if flush and abs(found) < Fraction(2) ** (least + digits - 1):
        found = Fraction(0)
    return float(found) if exact > 0 else -abs(float(found))


def flushed(x: float) -> float:
    return math.copysign(0.0, x) if abs(x) < 2.0**-126 else x


def square_root(x: Fraction) -> Fraction:
    """Return the square root, wrong by less than one in 2**140 and never halfway by mistake."""
    if x < 0:
        raise ValueError
    scale = 4 ** max(0, 150 - x.numerator.bit_length() + x.denominator.bit_length())
    root = math.isqrt(x.numerator * scale * 4**150 // x.denominator)
    exact = Fraction(root * root, scale * 4**150) == x
    return Fraction(2 * root + (not exact), 2) / Fraction(math.isqrt(scale) * 2**150)


ARITHMETIC: dict[str, Callable[..., Fraction]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "rcp": lambda a: 1 / a,
    "sqrt": square_root,
    "": lambda a, b, c: a * b + c,
}


def floating(name: str, kind: str, mode: str) -> Row:
    letter = kind[0]
    prefix = (f"__fma{'f' if letter == 'f' else ''}") if not name else f"__{letter}{name}"
    exact, count = ARITHMETIC[name], ARITHMETIC[name].__code__.co_argcount

    def wanted(*values: float, flush: bool) -> float | None:
        flush = flush and kind == "float"
        if flush:
            values = tuple(map(flushed, values))
        if not all(map(math.isfinite, values)):
            return None
        try:
            result = exact(*map(Fraction, values))
        except (ValueError, ZeroDivisionError):
            return None
        return rounded(result, kind, mode, flush) if result else None

    return row(f"{prefix}_{mode}", letter * (count + 1), wanted)


def to_float(mode: str, letter: str, name: str, kind: str) -> Row:
    def wanted(x: float) -> float | None:
        return rounded(Fraction(x), kind, mode, False) if math.isfinite(x) else None

    return row(f"__{name}2{kind}_{mode}", kind[0] + letter, wanted)


def to_integer(mode: str, letter: str, name: str, kind: str) -> Row:
    bits, is_signed = (32 if letter in "iu" else 64), letter in "il"
    least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)

    def wanted(x: float, flush: bool) -> int:
        if math.isnan(x):
            return 0 if bits == 32 and kind == "float" else 1 << bits - 1
        if math.isinf(x):
            return least if x < 0 else most
        if flush and kind == "float":
            x = flushed(x)
        return min(max(int(nearest(Fraction(x), Fraction(1), mode)), least), most)

    return row(f"__{kind}2{name}_{mode}", letter + kind[0], wanted)


def reciprocal_root(x: float, flush: bool) -> float | None:
    x = flushed(x) if flush else x
    if not 0 < x < math.inf:
        return None
    return rounded(1 / square_root(Fraction(x)), "float", "rn", flush)


MODES = ("rn", "rz", "ru", "rd")
NAMES = (("i", "int"), ("u", "uint"), ("l", "ll"), ("U", "ull"))
ROUNDING = [
    *itertools.starmap(floating, itertools.product(ARITHMETIC, ("float", "double"), MODES)),
    row("__frsqrt_rn", "ff", reciprocal_root),
    *(to_integer(mode, letter, name, kind)
      for mode in MODES for letter, name in NAMES for kind in ("float", "double")),
]  # fmt: skip
INTEGERS += [
    *(to_float(mode, letter, name, kind)
      for mode in MODES for letter, name in NAMES for kind in ("float", "double")
      if letter in "lU" or kind == "float" or mode == "rn"),
]  # fmt: skip


# ---------------------------------------------------------------------------------- running
def unique(rows: Sequence[Row]) -> dict[tuple[str, ...], list[Row]]:
    """Return the rows by their types."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for one in rows:
        found.setdefault(one.types, []).append(one)
    return found


@functools.cache
def module(name: str, flush: bool = True) -> emulator.RawModule:
    """Return the module of a table: a kernel for each list of types, with a case for each row."""
    kernels = []
    for index, (types, rows) in enumerate(unique(TABLES[name]).items()):
        result, *kinds = types
        arguments = ", ".join(f"x{k}[i]" for k in range(len(kinds)))
        cases = "".join(
            f"case {number}: out[i] = {one.call}({arguments}); break;\n"
            for number, one in enumerate(rows)
        )
        inputs = ", ".join(f"const {kind}* x{k}" for k, kind in enumerate(kinds))
        kernels.append(
            f'extern "C" __global__ void f{index}(int which, {inputs}, {result}* out, int n)\n'
            "{ int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return;\n"
            f"switch (which) {{ {cases} }} }}\n"
        )
    made = emulator.RawModule(code="".join(kernels))
    if not flush:  # which CuPy's option would do
        made._program.request = Request(made.code, parse(()))
    return made


def inputs(kind: str, count: int, seed: int) -> np.ndarray[Any, Any]:
    """Return numbers of a type: edges and random ones, among them subnormal, infinite and NaN."""
    random, dtype = np.random.default_rng(seed), np.dtype(TYPES[kind])
    found = np.frombuffer(random.bytes(count * dtype.itemsize), dtype).copy()
    half = count // 2
    edges: list[float]
    if dtype.kind == "f":
        tiny, most = float(np.finfo(dtype).tiny), float(np.finfo(dtype).max)
        found[:half] = np.ldexp(random.uniform(-1, 1, half), random.integers(-4, 40, half))
        edges = [0, 1, -1, 0.5, 1.5, -2.5, 2**31, 2**31 - 0.5, -(2**31) - 1, 2**63, -(2**63),
                 2**64, tiny, -tiny / 4, tiny * 1.5, most, -most, np.inf, -np.inf, np.nan,
                 3e-9]  # fmt: skip
    else:
        info = np.iinfo(dtype)
        found[half:] >>= random.integers(0, 8 * dtype.itemsize, count - half).astype(dtype)
        edges = [0, 1, 2, 3, 7, 31, 32, 33, 255, info.max, info.min, info.max - 1, info.max // 2]
    random.shuffle(edges)
    found[: len(edges)] = np.array(edges, dtype)
    return found


def run(kernel: Any, number: int, values: list[np.ndarray[Any, Any]], result: str) -> Any:
    count = len(values[0])
    out = emulator.zeros(count, TYPES[result])
    arguments = [emulator.asarray(value) for value in values]
    kernel((-(-count // 64),), (64,), (np.int32(number), *arguments, out, np.int32(count)))
    return out.get()


COUNT = 64
TABLES = {"integers": INTEGERS, "rounding": ROUNDING}


def compare(name: str, mode: str, flush: bool | None = None) -> None:
    emulator.configure(mode)
    code = module(name, flush is not False)
    for index, (types, rows) in enumerate(unique(TABLES[name]).items()):
        values = [inputs(kind, COUNT, 10 * seed + 3) for seed, kind in enumerate(types[1:])]
        if len(values) == 3 and values[0].dtype.kind == "f":
            with np.errstate(all="ignore"):  # cancellation
                values[2][::2] = -values[0][::2] * values[1][::2]
        for number, one in enumerate(rows):
            found = run(code.get_function(f"f{index}"), number, values, types[0])
            more = {} if flush is None else {"flush": flush}
            for position, given in enumerate(zip(*(x.tolist() for x in values), strict=True)):
                wanted = one.wanted(*given, **more)
                if wanted is not None:
                    assert same(found[position], wanted), (one.call, given, found[position], wanted)


def same(got: Any, wanted: Any) -> bool:
    """Return whether the bits are those wanted, of integers modulo 2**32 or 2**64."""
    dtype = got.dtype
    if dtype.kind in "iu":
        bits = 8 * dtype.itemsize
        return int(got) & (1 << bits) - 1 == int(wanted) & (1 << bits) - 1
    return bool(np.isnan(got) and np.isnan(wanted)) or got.tobytes() == dtype.type(wanted).tobytes()


def test_functions_of_integers() -> None:
    compare("integers", "check")  # which reports overflows in signed arithmetic as well


@pytest.mark.parametrize(("mode", "flush"), [("fast", False), ("check", True)])
def test_arithmetic_and_conversions_round_as_their_names_say(mode: str, flush: bool) -> None:
    compare("rounding", mode, flush)


@pytest.mark.parametrize("mode", ["fast", "check", "profile"])
def test_parameters_may_be_const_and_volatile(mode: str) -> None:
    emulator.configure(mode)
    code = """extern "C" __global__ void add(const volatile float* x, volatile float* y)
    { y[threadIdx.x] = x[threadIdx.x] + 1; }"""
    x, y = emulator.asarray(np.float32([1, 2])), emulator.zeros(2, np.float32)
    emulator.RawModule(code=code).get_function("add")((1,), (2,), (x, y))
    assert y.get().tolist() == [2, 3]
    with emulator.checking(), pytest.raises(emulator.EmulatorError, match="past the end of x"):
        emulator.RawModule(code=code).get_function("add")((1,), (3,), (x, emulator.zeros(3, "f4")))


@pytest.mark.parametrize(
    "ptx", ['asm volatile("mov.u32 %0, %%laneid;" : "=r"(x[0]));', 'asm("mov.u64 %0, %pm;" ::);']
)
def test_inline_ptx_is_refused_with_an_alternative(ptx: str) -> None:
    code = f'extern "C" __global__ void f(unsigned* x)\n{{ {ptx} }}'
    with pytest.raises(emulator.CompileError, match=r"<code>:2: error: .* inline PTX") as caught:
        emulator.RawModule(code=code).get_function("f")
    assert caught.value.line == 2
    assert "GPUCNN_EMULATOR" in str(caught.value)
