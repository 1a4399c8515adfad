"""Elementary functions in plain arithmetic, so that LLVM vectorizes the loops that call them.

Numba compiles ``np.exp`` and similar functions as calls of the C library, one element at a time (2 to 16 ns
each).  The functions here have no branch and no call: they reduce the argument, evaluate a polynomial, and
compute powers of two by shifting bits.  So a loop over an array is vectorized and takes 0.3 to 2 ns an element.

Every rounding is explicit: products are fused with sums only where the code calls `fma`, and no fast-math flag
is set.  Therefore NaN, infinities and signed zeros behave as in NumPy.  An element has the same bits in the
vectorized part of a loop, in its scalar remainder, and in another kernel.

Largest errors measured, in units in the last place of the exact result (`tests/test_numba_building_blocks.py`
checks the bound of every function; for results below the smallest normal number, the unit is the spacing of the
subnormal numbers):

========  =======  =======  =====
function  float32  float64  bound
========  =======  =======  =====
exp       1.0      1.0      2
expm1     1.4      1.9      3
log       0.9      0.8      2
log1p     0.9      0.8      3
tanh      2.5      2.6      4
erf       2.4      1.5      4
erfc      6.2      3.7      8
========  =======  =======  =====

``sqrt``, ``abs``, ``sign``, ``maximum``, ``minimum``, ``copysign`` and ``where`` are exact.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir as llvm
from numba.core import cgutils, types
from numba.extending import intrinsic

from backends.numba_backend.formula_compiler import formula
from backends.numba_backend.kernel_cache import target_cpu

Scalar = Any
"""A float32 or float64 in compiled code, which mypy does not check."""

_INTEGER = {types.float32: llvm.IntType(32), types.float64: llvm.IntType(64)}
_FRACTION_BITS = {types.float32: 23, types.float64: 52}
_EXPONENT_BIAS = {types.float32: 127, types.float64: 1023}
_SQRT_HALF_BITS = {types.float32: 0x3F3504F3, types.float64: 0x3FE6A09E667F3BCD}


# ---------------------------------------------------------------------------------------------------
# Intrinsics: operations that Python code cannot express
# ---------------------------------------------------------------------------------------------------


def _on_float(emit: Callable[[Any, Any, Any, types.Float], Any], arguments: int = 1) -> Any:
    """Make an intrinsic on floats of one type from ``emit(context, builder, values, type)``."""

    def checked(signature_types: Sequence[types.Type]) -> Any:
        real = signature_types[0]
        if not isinstance(real, types.Float) or any(t != real for t in signature_types):
            return None

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return emit(context, builder, values, real)

        return real(*signature_types), codegen

    def one(typingctx: Any, x: Any) -> Any:
        return checked((x,))

    def two(typingctx: Any, x: Any, y: Any) -> Any:
        return checked((x, y))

    def three(typingctx: Any, x: Any, y: Any, z: Any) -> Any:
        return checked((x, y, z))

    return intrinsic({1: one, 2: two, 3: three}[arguments])


def _call(builder: Any, name: str, values: Sequence[Any]) -> Any:
    """Call the LLVM intrinsic `name` for the values' type, such as ``llvm.fabs.f32``."""
    kind = values[0].type
    vector = isinstance(kind, llvm.VectorType)
    scalar = kind.element if vector else kind
    suffix = (f"v{kind.count}" if vector else "") + ("f32" if isinstance(scalar, llvm.FloatType) else "f64")
    function_type = llvm.FunctionType(kind, [kind] * len(values))
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, f"llvm.{name}.{suffix}"), values)


def has_fma() -> bool:
    """Whether the target has a fused multiply-add instruction (without it, LLVM would call a slow library function)."""
    return bool({"fma", "neon"} & target_cpu().features)


def emit_fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Emit ``a * b + c`` for scalars or vectors: always fused if the target has the instruction, else never."""
    return _call(builder, "fma", [a, b, c]) if has_fma() else builder.fadd(builder.fmul(a, b), c)


def _constant(single: float, double: float) -> Any:
    """Intrinsic ``constant(x)``: one of two numbers, chosen by the type of `x`, in that type."""

    def emit(context: Any, builder: Any, values: Any, real: types.Float) -> Any:
        return context.get_constant(real, single if real == types.float32 else double)

    return _on_float(emit)


def _polynomial(single: Sequence[float], double: Sequence[float]) -> Any:
    """Intrinsic ``polynomial(x)`` by Horner's rule, with the coefficients from the highest power down."""

    def emit(context: Any, builder: Any, values: Any, real: types.Float) -> Any:
        first, *others = single if real == types.float32 else double
        result = context.get_constant(real, first)
        for coefficient in others:
            result = emit_fma(builder, result, values[0], context.get_constant(real, coefficient))
        return result

    return _on_float(emit)


def _emit_two_to(context: Any, builder: Any, values: Any, real: types.Float) -> Any:
    # adding 1.5 * 2**fraction_bits puts the integer into the low bits of the sum; the shift moves it to the exponent
    bits, integer = _FRACTION_BITS[real], _INTEGER[real]
    shifted = builder.fadd(values[0], context.get_constant(real, 1.5 * 2.0**bits + _EXPONENT_BIAS[real]))
    exponent = builder.shl(builder.bitcast(shifted, integer), integer(bits))
    return builder.bitcast(exponent, values[0].type)


def _emit_offset_bits(builder: Any, x: Any, real: types.Float) -> Any:
    """Bits of `x`, offset so that the exponent field changes at sqrt(1/2) times a power of two."""
    integer = _INTEGER[real]
    one = _EXPONENT_BIAS[real] << _FRACTION_BITS[real]
    return builder.add(builder.bitcast(x, integer), integer(one - _SQRT_HALF_BITS[real]))


def _emit_exponent(context: Any, builder: Any, values: Any, real: types.Float) -> Any:
    bits, integer = _FRACTION_BITS[real], _INTEGER[real]
    field = builder.lshr(_emit_offset_bits(builder, values[0], real), integer(bits))
    # as the fraction of 2**fraction_bits the integer becomes a float, without a conversion instruction
    base = (bits + _EXPONENT_BIAS[real]) << bits
    number = builder.bitcast(builder.or_(field, integer(base)), values[0].type)
    return builder.fsub(number, context.get_constant(real, 2.0**bits + _EXPONENT_BIAS[real]))


def _emit_significand(context: Any, builder: Any, values: Any, real: types.Float) -> Any:
    bits, integer = _FRACTION_BITS[real], _INTEGER[real]
    fraction = builder.and_(_emit_offset_bits(builder, values[0], real), integer((1 << bits) - 1))
    return builder.bitcast(builder.add(fraction, integer(_SQRT_HALF_BITS[real])), values[0].type)


def _emit_upper_half(context: Any, builder: Any, values: Any, real: types.Float) -> Any:
    integer = _INTEGER[real]
    dropped = _FRACTION_BITS[real] // 2 + 1
    return builder.bitcast(builder.and_(builder.bitcast(values[0], integer), integer(-1 << dropped)), values[0].type)


fma = _on_float(lambda context, builder, values, real: emit_fma(builder, *values), 3)
"""``a * b + c``, rounded once if the processor has the instruction."""
abs = _on_float(lambda context, builder, values, real: _call(builder, "fabs", values))
"""Absolute value."""
sqrt = _on_float(lambda context, builder, values, real: _call(builder, "sqrt", values))
"""Square root, NaN below zero."""
copysign = _on_float(lambda context, builder, values, real: _call(builder, "copysign", values), 2)
"""The first argument with the sign of the second."""

_two_to = _on_float(_emit_two_to)  # 2**n for an integral n in the range of normal exponents
_exponent = _on_float(_emit_exponent)  # k of x = m * 2**k with sqrt(1/2) <= m < sqrt(2), for normal x > 0
_significand = _on_float(_emit_significand)  # that m
_upper_half = _on_float(_emit_upper_half)  # x with the lower half of its significand cleared: its square is exact


@intrinsic
def where(typingctx: Any, condition: Any, yes: Any, no: Any) -> Any:
    """``yes if condition else no`` with both already evaluated, as one select instruction."""
    if condition != types.boolean or yes != no:
        return None

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.select(*values)

    return yes(condition, yes, no), codegen


# ---------------------------------------------------------------------------------------------------
# Exact functions
# ---------------------------------------------------------------------------------------------------


@formula
def maximum(x: Scalar, y: Scalar) -> Scalar:
    """The larger one, or NaN where either is NaN, like `numpy.maximum`."""
    return where((x >= y) | (x != x), x, y)


@formula
def minimum(x: Scalar, y: Scalar) -> Scalar:
    """The smaller one, or NaN where either is NaN, like `numpy.minimum`."""
    return where((x <= y) | (x != x), x, y)


@formula
def sign(x: Scalar) -> Scalar:
    """-1, 0 or 1; NaN stays NaN."""
    return where(x > 0, 1, where(x < 0, -1, where(x == 0, 0, x)))


# ---------------------------------------------------------------------------------------------------
# Exponentials.  x = n ln 2 + r with |r| <= ln(2)/2; ln 2 is the sum of two constants, the first with so few
# bits that its product with n is exact.
# ---------------------------------------------------------------------------------------------------

_LOG2_E = 1.4426950408889634
_ln2_high = _constant(0.693145751953125, 0.693147180559663)
_ln2_low = _constant(1.4286068e-06, 2.8235290563031577e-13)
_to_integer = _constant(1.5 * 2.0**23, 1.5 * 2.0**52)  # x + this - this rounds x to the nearest integer
_exp_underflows = _constant(-104.0, -746.0)
_exp_overflows = _constant(89.0, 710.0)
_expm1_saturates = _constant(-20.0, -40.0)
_negligible = _constant(1e-20, 1e-160)  # below this, x * x / 2 does not change x, and could underflow

# (exp(r) - 1 - r) / r**2 on |r| <= ln(2)/2
_exp_tail = _polynomial(
    single=(0.0001989198, 0.0013934541, 0.0083333105, 0.041666456, 0.16666667, 0.5),
    double=(
        2.0915442297780116e-09, 2.5106274733573296e-08, 2.75572718102198e-07, 2.755725283351691e-06,
        2.4801587327007187e-05, 0.00019841269876864356, 0.0013888888888883327, 0.008333333333325544,
        0.04166666666666667, 0.1666666666666667, 0.5,
    ),
)  # fmt: skip


@formula
def _nearest(x: Scalar) -> Scalar:
    return (x + _to_integer(x)) - _to_integer(x)


@formula
def _remainder(x: Scalar, n: Scalar) -> Scalar:
    return fma(-n, _ln2_low(x), fma(-n, _ln2_high(x), x))


@formula
def exp(x: Scalar) -> Scalar:
    """Exponential function."""
    x = where(x > _exp_overflows(x), _exp_overflows(x), where(x < _exp_underflows(x), _exp_underflows(x), x))
    n = _nearest(x * _LOG2_E)
    r = _remainder(x, n)
    near_one = 1 + fma(r * r, _exp_tail(r), r)
    # two factors, because 2**n can be outside the normal range although the result is not
    half = _nearest(0.5 * n)
    return near_one * _two_to(half) * _two_to(n - half)


@formula
def expm1(x: Scalar) -> Scalar:
    """``exp(x) - 1`` without cancellation near zero."""
    capped = where(x > _exp_overflows(x), _exp_overflows(x), where(x < _expm1_saturates(x), _expm1_saturates(x), x))
    n = _nearest(capped * _LOG2_E)
    r = _remainder(capped, n)
    scale = _two_to(n - 1)  # half of 2**n, which may overflow
    result = 2 * fma(scale, fma(r * r, _exp_tail(r), r), scale - 0.5)
    return where(abs(x) < _negligible(x), x, result)


@formula
def tanh(x: Scalar) -> Scalar:
    """Hyperbolic tangent, computed from `expm1` to be accurate near zero."""
    t = expm1(-2 * abs(x))
    return copysign(-t / (t + 2), x)


# ---------------------------------------------------------------------------------------------------
# Logarithms.  x = 2**k (1 + f); with s = f / (2 + f), log(1 + f) = 2s + s z P(z), z = s**2.  This is
# computed as f - (f**2/2 - s (f**2/2 + z P(z))), so that the leading term is exact.
# ---------------------------------------------------------------------------------------------------

_INFINITY, _NAN = float("inf"), float("nan")
_smallest_normal = _constant(2.0**-126, 2.0**-1022)
_subnormal_scale = _constant(2.0**25, 2.0**54)  # makes any subnormal number normal
_subnormal_scale_exponent = _constant(25.0, 54.0)

# (log((1 + s) / (1 - s)) / s - 2) / s**2 as a polynomial of s**2
_log_tail = _polynomial(
    single=(0.29590318, 0.3998855, 0.66666687),
    double=(
        0.1463003136412286, 0.15330617306743305, 0.18182922513515942, 0.22222210674238516, 0.28571428628810996,
        0.3999999999989322, 0.666666666666667,
    ),
)  # fmt: skip


@formula
def _log_of_parts(k: Scalar, f: Scalar, correction: Scalar) -> Scalar:
    s = f / (2 + f)
    z = s * s
    half_square = 0.5 * f * f
    low = fma(s, fma(z, _log_tail(z), half_square), fma(k, _ln2_low(f), correction))
    return fma(k, _ln2_high(f), f - (half_square - low))


@formula
def log(x: Scalar) -> Scalar:
    """Natural logarithm; minus infinity at zero, NaN below."""
    subnormal = x < _smallest_normal(x)
    y = where(subnormal, x * _subnormal_scale(x), x)
    k = _exponent(y) - where(subnormal, _subnormal_scale_exponent(x), 0)
    result = _log_of_parts(k, _significand(y) - 1, 0 * k)
    return where((x > 0) & (x < _INFINITY), result, where(x == 0, -_INFINITY, where(x > 0, x, _NAN)))


@formula
def log1p(x: Scalar) -> Scalar:
    """``log(1 + x)``, accurate for a small x too; minus infinity at -1, NaN below."""
    u = 1 + x
    rest = u - 1
    lost = (1 - (u - rest)) + (x - rest)  # the rounding error of u, exactly
    k = _exponent(u)
    near = k == 0
    f = where(near, x, _significand(u) - 1)
    result = _log_of_parts(k, f, where(near, 0, lost / u))
    result = where(abs(x) < _negligible(x), x, result)
    return where((x > -1) & (x < _INFINITY), result, where(x == -1, -_INFINITY, where(x > -1, x, _NAN)))


# ---------------------------------------------------------------------------------------------------
# Error functions.  erfc(a) = exp(-a**2) G(q) / (1 + 2a).  G(q) = (1 + 2a) exp(a**2) erfc(a) varies little,
# and q = (a - c) / (a + c) maps a >= 0 to [-1, 1) (Shepherd & Laframboise 1981).
# ---------------------------------------------------------------------------------------------------

_erfc_centre = _constant(3.0, 4.0)
_erfc_underflows = _constant(10.5, 28.0)

_scaled_erfc = _polynomial(
    single=(
        -0.000273596, -0.0007881207, 0.0020017712, 0.0025768564, -0.023794664, 0.06829303, -0.11927192,
        0.12964672, -0.04756232, -0.13562115, 1.253008,
    ),
    double=(
        -1.8206098680308682e-09, -1.3670989863347383e-08, -7.71541861441783e-09, 1.1534943745754157e-07,
        6.270727157198311e-08, -8.351619688696847e-07, 3.0135049944875397e-07, 5.7178872846321855e-06,
        -1.1224789135154701e-05, -2.4403169244974074e-05, 0.000150622243948303, -0.00019925550755614952,
        -0.00075777334141333, 0.005031969755895426, -0.016197734059115006, 0.03716751556249286,
        -0.06633036581152939, 0.09373283499679412, -0.10103906603635213, 0.06809705425473732,
        0.01537965210262074, -0.1396211168405629, 1.2329951186255526,
    ),
)  # fmt: skip

# erf(x) / x as a polynomial of x**2 on |x| <= 1
_erf_over_x = _polynomial(
    single=(7.875875e-05, -0.00080168643, 0.0051890872, -0.026854211, 0.11283594, -0.37612626, 1.1283791),
    double=(
        -7.795898827002142e-10, 1.3720064546777686e-08, -1.6208483801871705e-07, 1.6447424703317362e-06,
        -1.492473690741966e-05, 0.00012055294904839707, -0.0008548325975389692, 0.0052239776071164225,
        -0.02686617064323777, 0.11283791670945006, -0.37612638903183543, 1.1283791670955126,
    ),
)  # fmt: skip


@formula
def erfc(x: Scalar) -> Scalar:
    """Complementary error function, with a small relative error down to its underflow."""
    a = abs(x)
    a = where(a > _erfc_underflows(x), _erfc_underflows(x), a)
    # a**2 = square + lost exactly; without `lost`, the rounding error of a**2 would be multiplied by a**2 in the result
    upper = _upper_half(a)
    square = a * a
    lost = (upper * upper - square) + (a - upper) * (a + upper)
    gaussian = exp(-square)
    scaled = _scaled_erfc((a - _erfc_centre(x)) / (a + _erfc_centre(x))) / (1 + 2 * a)
    tail = fma(-lost, gaussian * scaled, gaussian * scaled)
    return where(x < 0, 2 - tail, tail)


@formula
def erf(x: Scalar) -> Scalar:
    """Error function."""
    return where(abs(x) < 1, x * _erf_over_x(x * x), copysign(1 - erfc(abs(x)), x))


# ---------------------------------------------------------------------------------------------------
# The functions by NumPy's names
# ---------------------------------------------------------------------------------------------------

SCALARS: dict[str, Any] = {
    "abs": abs, "copysign": copysign, "erf": erf, "erfc": erfc, "exp": exp, "expm1": expm1, "log": log,
    "log1p": log1p, "maximum": maximum, "minimum": minimum, "sign": sign, "sqrt": sqrt, "tanh": tanh,
    "where": where,
}  # fmt: skip
"""NumPy's name of each function -> the scalar function that replaces it in a compiled formula."""
