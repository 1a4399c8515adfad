"""Counts the instructions that a thread of a CUDA kernel executes, without a GPU: NVRTC compiles it to PTX, which is
interpreted here.

PTX is what the compiler's last part, ptxas, turns into machine code.  It has the same multiplications, memory accesses
and barriers, but also moves and conversions of addresses that ptxas removes.

The thread runs alone.  What it did not store itself is read as 0 or 0.5, a shuffle returns the thread's own number, and
nothing waits.  So the counts are those of a kernel whose loops and branches depend on sizes and numbers of threads, and
not on the data.
"""

from __future__ import annotations

import functools
import math
import re
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

MOST_INSTRUCTIONS = 2_000_000
"""Of a thread: more means that a loop does not end."""

WAITS = ("bar.sync", "barrier.sync", "mbarrier.try_wait", "barrier.cluster.wait")
"""Where a thread waits for others; a phase ends there."""

SYMBOL = 1 << 20
"""Address of everything that has a name, such as the beginning of the dynamic shared memory."""


@functools.lru_cache(maxsize=64)
def compile_to_ptx(source: str, architecture: str = "compute_90", options: tuple[str, ...] = ()) -> str:
    """Compile CUDA C++ by NVRTC.

    Raises
    ------
    RuntimeError
        With the messages of the compiler.
    """
    from cuda.bindings import nvrtc

    flags = [f"-arch={architecture}", "-std=c++17", "-ftz=true", "--device-as-default-execution-space", *options]
    _, program = nvrtc.nvrtcCreateProgram(source.encode(), b"kernel.cu", 0, [], [])
    (status,) = nvrtc.nvrtcCompileProgram(program, len(flags), [flag.encode() for flag in flags])
    if int(status):
        _, size = nvrtc.nvrtcGetProgramLogSize(program)
        log = b" " * size
        nvrtc.nvrtcGetProgramLog(program, log)
        raise RuntimeError(log.decode(errors="replace").strip("\0 \n"))
    _, size = nvrtc.nvrtcGetPTXSize(program)
    text = b" " * size
    nvrtc.nvrtcGetPTX(program, text)
    nvrtc.nvrtcDestroyProgram(program)
    return text.decode().strip("\0")


@dataclass(frozen=True)
class Instruction:
    """``@guard opcode operands``; the guard may begin with an exclamation mark."""

    guard: str
    opcode: str
    operands: tuple[str, ...]

    @property
    def type(self) -> str:
        """The last of the types in the name: that of the operands."""
        return self.opcode.rsplit(".", 1)[-1]


@dataclass
class Kernel:
    """The instructions of a kernel, the places of its labels, and its parameters in order."""

    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    parameters: list[str] = field(default_factory=list)


def parse(ptx: str, name: str) -> Kernel:
    """The kernel `name` of a PTX text.

    Raises
    ------
    ValueError
        If there is no such kernel.
    """
    found = re.search(rf"\.entry {name}\((.*?)\)[^{{]*\{{", ptx, re.DOTALL)
    if not found:
        raise ValueError(f"the PTX has no kernel {name!r}")
    kernel = Kernel(parameters=re.findall(rf"({name}_param_\d+)", found[1]))
    scopes, blocks = [0], 0
    for line in re.split(r"[;\n]", re.sub(r"//[^\n]*", "", _body(ptx[found.end() :]))):
        text = line.strip()
        while text:
            label = re.match(r"([$\w]+):(?!:)\s*", text)
            if text[0] in "{}":
                if text[0] == "{":
                    blocks += 1
                    scopes.append(blocks)
                else:
                    scopes.pop()
                text = text[1:].lstrip()
                continue
            if label:
                kernel.labels[_scoped(label[1], scopes[-1])] = len(kernel.instructions)
                text = text[label.end() :]
                continue
            if not text.startswith("."):
                kernel.instructions.append(_instruction(text, scopes[-1]))
            break
    return kernel


def _body(text: str) -> str:
    """Up to the brace that ends the kernel."""
    depth = 1
    for brace in re.finditer(r"[{}]", text):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return text[: brace.start()]
    raise ValueError("the PTX ends within the kernel")


def _scoped(label: str, scope: int) -> str:
    """Labels of inline assembly may occur several times, each in its own braces."""
    return label if label.startswith("$") else f"{label}@{scope}"


def _instruction(text: str, scope: int) -> Instruction:
    guard, opcode, rest = re.fullmatch(r"(?:@(!?[%\w]+)\s+)?(\S+)\s*(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    operands = tuple(each.strip() for each in re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*", rest))
    if opcode.split(".")[0] == "bra":
        operands = (_scoped(operands[0], scope),)
    return Instruction(guard or "", opcode, operands)


# -- numbers ------------------------------------------------------------------------------------------------------

_BITS = {"8": 8, "16": 16, "32": 32, "64": 64}


def _is_float(type_: str) -> bool:
    return type_ in ("f32", "f64")


def _bits_of(type_: str) -> int:
    return 1 if type_ == "pred" else _BITS[type_.lstrip("subf")]


def _single(value: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def _to_bits(value: float, type_: str) -> int:
    code, integer = ("f", "I") if type_ == "f32" else ("d", "Q")
    return int(struct.unpack(integer, struct.pack(code, _single(value) if code == "f" else value))[0])


def _from_bits(value: int, type_: str) -> float:
    code, integer = ("f", "I") if type_ == "f32" else ("d", "Q")
    return float(struct.unpack(code, struct.pack(integer, value))[0])


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b and a == a and b == b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "nan": lambda a, b: a != a or b != b,
    "num": lambda a, b: a == a and b == b,
}


def _compare(kind: str, a: Any, b: Any) -> bool:
    if kind in _COMPARISONS:
        return _COMPARISONS[kind](a, b)
    if kind.endswith("u") and kind[:-1] in _COMPARISONS:  # also true for NaN
        return a != a or b != b or _COMPARISONS[kind[:-1]](a, b)
    return _COMPARISONS[{"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}[kind]](a, b)


def _divide(a: float, b: float) -> float:
    return a / b if b else math.nan if a == 0 or a != a else math.copysign(math.inf, a)


_UNARY: dict[str, Callable[[float], float]] = {
    "neg": lambda a: -a,
    "abs": abs,
    "mov": lambda a: a,
    "ex2": lambda a: 2.0 ** min(a, 1000.0),
    "lg2": lambda a: math.log2(a) if a > 0 else -math.inf if a == 0 else math.nan,
    "rcp": lambda a: _divide(1.0, a),
    "sqrt": lambda a: math.sqrt(a) if a >= 0 else math.nan,
    "rsqrt": lambda a: _divide(1.0, math.sqrt(a)) if a >= 0 else math.nan,
    "sin": math.sin,
    "cos": math.cos,
    "tanh": math.tanh,
}
_BINARY: dict[str, Callable[[float, float], float]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": _divide,
    "min": min,
    "max": max,
    "copysign": lambda a, b: math.copysign(b, a),
}


# -- a thread -----------------------------------------------------------------------------------------------------


class Thread:
    """A thread of a kernel.

    Parameters
    ----------
    kernel : Kernel
    arguments : mapping
        The values of the parameters, by their names in the PTX; ``name+8`` is a field of a structure.
    special : mapping
        Values of registers such as ``%tid.x``; all others are 0.
    memory : mapping, optional
        What is read at ``(space, address)``, such as ``("global", 4096)``, whatever the thread stores there.
    """

    def __init__(
        self,
        kernel: Kernel,
        arguments: Mapping[str, Any],
        special: Mapping[str, int],
        memory: Mapping[tuple[str, int], Any] | None = None,
    ) -> None:
        self._kernel, self._arguments, self._special = kernel, arguments, special
        self._given = memory or {}
        self._registers: dict[str, Any] = {}
        self._memory: dict[tuple[str, int], Any] = {}

    def run(self) -> list[Counter[str]]:
        """How often each opcode is executed, in each phase: up to and including each of `WAITS`, and after the last.

        Raises
        ------
        RuntimeError
            If the thread does not end.
        NotImplementedError
            If the kernel has an instruction that is not known here.
        """
        phases: list[Counter[str]] = [Counter()]
        instructions, place = self._kernel.instructions, 0
        for _ in range(MOST_INSTRUCTIONS):
            if place >= len(instructions):
                return phases
            each = instructions[place]
            place += 1
            phases[-1][each.opcode] += 1
            if each.guard and bool(self._registers.get(each.guard.lstrip("!"), False)) == each.guard.startswith("!"):
                continue
            name = each.opcode.split(".")[0]
            if name == "bra":
                place = self._kernel.labels[each.operands[0]]
            elif name in ("ret", "exit"):
                return phases
            else:
                self._execute(name, each)
            if each.opcode.startswith(WAITS):
                phases.append(Counter())
        raise RuntimeError(f"the thread has executed {MOST_INSTRUCTIONS} instructions and does not end")

    def _execute(self, name: str, each: Instruction) -> None:
        parts, operands = each.opcode.split("."), each.operands
        if name in ("bar", "barrier", "fence", "membar", "prefetch", "st", "cp", "discard", "griddepcontrol", "red"):
            if name == "st" and "async" not in parts:
                self._store(parts, operands)
        elif name == "mbarrier":
            if "try_wait" in parts or "test_wait" in parts:
                self._registers[operands[0]] = True
        elif name == "ld":
            self._load(parts, operands)
        elif name == "setp":
            self._set_predicate(parts, operands)
        elif name == "shfl":
            value, _, predicate = operands[0].partition("|")
            self._write(value, "b32", self._read(operands[1], "b32"))
            if predicate:
                self._registers[predicate] = True
        elif name == "cvt":
            self._convert(parts, operands)
        else:
            self._compute(name, parts, operands)

    # -- operands -----------------------------------------------------------------------------------

    def _read(self, operand: str, type_: str) -> Any:
        """The value of an operand: of a register, in the type of the instruction."""
        if type_ == "pred":
            wanted = not operand.startswith("!")
            return bool(self._registers.get(operand.lstrip("!"), False)) == wanted
        value = self._value(operand)
        if _is_float(type_):
            return _from_bits(value & ((1 << _bits_of(type_)) - 1), type_) if isinstance(value, int) else value
        bits = _bits_of(type_)
        if isinstance(value, float):
            value = _to_bits(value, f"f{bits}")
        return _signed(value, bits) if type_[0] == "s" else value & ((1 << bits) - 1)

    def _value(self, operand: str) -> Any:
        if operand in self._special:
            return self._special[operand]
        if operand.startswith("%"):
            return self._registers.get(operand, 0)
        if re.fullmatch(r"0[fF][0-9a-fA-F]{8}", operand):
            return _from_bits(int(operand[2:], 16), "f32")
        if re.fullmatch(r"0[dD][0-9a-fA-F]{16}", operand):
            return _from_bits(int(operand[2:], 16), "f64")
        try:
            return int(operand.rstrip("U"), 0)
        except ValueError:
            return SYMBOL

    def _write(self, register: str, type_: str, value: Any) -> None:
        if register == "_":
            return
        if isinstance(value, float) and type_ == "f32":
            value = _single(value)
        if isinstance(value, int) and not isinstance(value, bool) and register.startswith("%f"):
            value = _from_bits(value & ((1 << _bits_of(type_)) - 1), f"f{_bits_of(type_)}")
        elif isinstance(value, float) and not register.startswith("%f"):
            value = _to_bits(value, type_ if _is_float(type_) else f"f{_bits_of(type_)}")
        self._registers[register] = value

    def _address(self, operand: str) -> Any:
        base, sign, offset = re.fullmatch(r"\[([^+\-\]]+)([+-]?)(\d*)\]", operand.replace("+-", "-")).groups()  # type: ignore[union-attr]
        number = int(offset or 0) * (-1 if sign == "-" else 1)
        parameter = base.strip() + (f"+{number}" if number else "")  # with a number: a field of a structure
        if parameter in self._arguments:
            return parameter
        return self._value(base.strip()) + number

    # -- instructions -------------------------------------------------------------------------------

    def _load(self, parts: list[str], operands: tuple[str, ...]) -> None:
        type_, address = parts[-1], self._address(operands[1])
        if isinstance(address, str):
            self._write(operands[0], type_, self._arguments[address])
            return
        size = _bits_of(type_) // 8
        default = 0.5 if _is_float(type_) else 0
        for number, register in enumerate(operands[0].strip("{} ").split(",")):
            place = _space_of(parts), address + number * size
            value = self._given.get(place, self._memory.get(place, default))
            self._write(register.strip(), type_, value)

    def _store(self, parts: list[str], operands: tuple[str, ...]) -> None:
        type_, address = parts[-1], self._address(operands[0])
        size = _bits_of(type_) // 8
        for number, register in enumerate(operands[1].strip("{} ").split(",")):
            self._memory[_space_of(parts), address + number * size] = self._read(register.strip(), type_)

    def _set_predicate(self, parts: list[str], operands: tuple[str, ...]) -> None:
        type_ = parts[-1]
        found = _compare(parts[1], self._read(operands[1], type_), self._read(operands[2], type_))
        if len(operands) > 3:
            other = self._read(operands[3], "pred")
            found = {"and": found and other, "or": found or other, "xor": found != other}[parts[2]]
        first, _, second = operands[0].partition("|")
        self._registers[first] = found
        if second:
            self._registers[second] = not found

    def _convert(self, parts: list[str], operands: tuple[str, ...]) -> None:
        types = [part for part in parts[1:] if re.fullmatch(r"[sub](8|16|32|64)|f(32|64)", part)]
        to, source = types[0], types[1]
        value = self._read(operands[1], source)
        if "sat" in parts:
            value = min(max(value, 0.0), 1.0)
        if _is_float(to):
            value = float(value)
        elif isinstance(value, float):
            value = int(value) if math.isfinite(value) else 0
        if _is_float(to) and {"rni", "rmi", "rpi", "rzi"} & set(parts) and math.isfinite(value):
            value = float({"rmi": math.floor, "rpi": math.ceil, "rzi": math.trunc}.get(parts[1], round)(value))
        self._write(operands[0], to, value if _is_float(to) else value & ((1 << _bits_of(to)) - 1))

    def _compute(self, name: str, parts: list[str], operands: tuple[str, ...]) -> None:
        type_ = parts[-1]
        if name in ("cvta", "mapa"):
            self._write(operands[0], type_, self._read(operands[1], type_))
        elif name == "selp":
            chosen = operands[1] if self._read(operands[3], "pred") else operands[2]
            self._write(operands[0], type_, self._read(chosen, type_))
        elif name == "mma":  # of matrices whose entries the other lanes have
            for register in operands[0].strip("{} ").split(","):
                self._write(register.strip(), "f32", 0.5)
        elif name == "mov" and operands[0].startswith("{"):
            self._unpack(operands, type_)
        elif name == "mov" and operands[1].startswith("{"):
            self._pack(operands, type_)
        elif type_ == "pred":
            self._registers[operands[0]] = self._logic(name, [self._read(each, type_) for each in operands[1:]])
        elif _is_float(type_):
            self._write(operands[0], type_, _of_floats(name, [self._read(each, type_) for each in operands[1:]]))
        else:
            self._write(operands[0], *self._of_integers(name, parts, operands[1:]))

    def _unpack(self, operands: tuple[str, ...], type_: str) -> None:
        registers = operands[0].strip("{} ").split(",")
        bits, value = _bits_of(type_) // len(registers), self._read(operands[1], type_)
        for number, register in enumerate(registers):
            self._write(register.strip(), f"b{bits}", value >> (bits * number) & ((1 << bits) - 1))

    def _pack(self, operands: tuple[str, ...], type_: str) -> None:
        registers = operands[1].strip("{} ").split(",")
        bits = _bits_of(type_) // len(registers)
        parts = [self._read(each.strip(), f"b{bits}") << (bits * number) for number, each in enumerate(registers)]
        self._write(operands[0], type_, sum(parts))

    def _logic(self, name: str, values: list[bool]) -> bool:
        if name == "mov":
            return values[0]
        if name == "not":
            return not values[0]
        return {"and": all(values), "or": any(values), "xor": values[0] != values[-1]}[name]

    def _of_integers(self, name: str, parts: list[str], operands: tuple[str, ...]) -> tuple[str, int]:
        """Type and value of the result."""
        type_ = parts[-1]
        bits = _bits_of(type_)
        mask = (1 << bits) - 1
        shift = name in ("shl", "shr")
        wide = "wide" in parts
        values = [
            self._read(each, "u32" if shift and number else f"{type_[0]}{2 * bits}" if wide and number == 2 else type_)
            for number, each in enumerate(operands)
        ]
        a, b, c = (*values, 0, 0)[:3]
        if name in ("mul", "mad"):
            product = a * b
            if wide:
                return f"{type_[0]}{2 * bits}", (product + (c if name == "mad" else 0)) & ((1 << 2 * bits) - 1)
            product = product >> bits if "hi" in parts else product
            return type_, (product + (c if name == "mad" else 0)) & mask
        results: dict[str, Callable[[], int]] = {
            "mov": lambda: a,
            "add": lambda: a + b,
            "sub": lambda: a - b,
            "and": lambda: a & b,
            "or": lambda: a | b,
            "xor": lambda: a ^ b,
            "not": lambda: ~a,
            "neg": lambda: -a,
            "abs": lambda: abs(a),
            "min": lambda: min(a, b),
            "max": lambda: max(a, b),
            "shl": lambda: a << min(b, bits),
            "shr": lambda: a >> min(b, bits),
            "div": lambda: int(a / b) if b else mask,
            "rem": lambda: int(math.fmod(a, b)) if b else a,
            "popc": lambda: a.bit_count(),
            "clz": lambda: bits - a.bit_length(),
            "bfi": lambda: _insert(*values),
            "bfe": lambda: a >> b & ((1 << c) - 1),
            "prmt": lambda: _permuted(a | b << 32, c),
            "shf": lambda: (b << bits | a) >> (bits - c % bits if "l" in parts else c % bits),
        }
        if name not in results:
            raise NotImplementedError(f"PTX instruction {'.'.join(parts)!r} is not known")
        return type_, results[name]() & mask


def _space_of(parts: list[str]) -> str:
    """The memory that an instruction accesses, as in ``ld.volatile.shared.u32``."""
    return next((space for space in ("shared", "global", "local", "const") if space in parts), "generic")


def _insert(a: int, b: int, position: int, length: int) -> int:
    """Bits of a in b."""
    mask = ((1 << length) - 1) << position
    return b & ~mask | a << position & mask


def _permuted(eight: int, selector: int) -> int:
    """Four of eight bytes."""
    return sum((eight >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i for i in range(4))


def _of_floats(name: str, values: list[float]) -> float:
    if name in ("fma", "mad"):
        return values[0] * values[1] + values[2]
    if name in _UNARY and len(values) == 1:
        return _UNARY[name](values[0])
    if name in _BINARY:
        return _BINARY[name](values[0], values[1])
    raise NotImplementedError(f"PTX instruction {name!r} of floating-point numbers is not known")
