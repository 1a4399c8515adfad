"""`Translator`: writes formulas in another programming language, from their Python source.

What differs between languages is in a subclass of `Language`; names, constants and calls of other formulas are resolved
here.  In a row-wise formula every array is a function of the entry's number k, and so is the result: ``row_max`` and
``row_sum`` become reductions, the rest is evaluated for the entries that are used.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.formulas import elementary
from backends.formulas.elementary import NAMES, ROW_NAMES

Function = Callable[..., Any]

_ELEMENTARY: dict[Any, str] = {getattr(np, name): name for name in NAMES}
_ELEMENTARY |= {getattr(elementary, name): name for name in ROW_NAMES}
_CHOICE, _CONNECTIVE, _COMPARISON, _SUM, _PRODUCT, _SIGN, _ATOM = range(7)  # from the weakest binding to the strongest
_OPERATORS = {ast.Add: ("+", _SUM), ast.Sub: ("-", _SUM), ast.Mult: ("*", _PRODUCT), ast.Div: ("/", _PRODUCT)}
_COMPARISONS = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!="}
_CONNECTIVES = {ast.BitAnd: "&&", ast.BitOr: "||"}


class TranslationError(ValueError):
    """A formula uses something that cannot be translated; the message names it."""


class _Namespace:
    """The backend argument of user-defined functions: its attributes are the elementary functions."""


@dataclass(frozen=True)
class Translation:
    """The parts of a translated formula, for `Language.function`.

    Attributes
    ----------
    name : str
    arguments : list of str
        Names of the numbers, or of the rows, that it takes.
    lines : list of str
        Definitions and reductions, in order.
    results : list of str
        Expressions: one, or as many as the tuple that the formula returns has.
    is_tuple, rowwise : bool
    """

    name: str
    arguments: list[str]
    lines: list[str]
    results: list[str]
    is_tuple: bool
    rowwise: bool


class Language(ABC):
    """How a language writes the parts of a formula; operators, comparisons and ``?:`` are those of C."""

    all_parentheses = False
    """Whether to enclose every operation in parentheses, not only where they are needed."""

    @abstractmethod
    def argument(self, name: str, rowwise: bool) -> tuple[str, str]:
        """Return the name of an argument, and how its value (in a row: entry k) is written."""

    @abstractmethod
    def number(self, value: float) -> str:
        """Write a constant."""

    @abstractmethod
    def elementary(self, name: str, arguments: list[str]) -> str:
        """Write a call of an elementary function of `NAMES` or of ``erfc``."""

    @abstractmethod
    def call(self, name: str, arguments: list[str]) -> str:
        """Write a call of another formula."""

    def variable(self, stem: str, number: int, used: set[str]) -> str:
        """Return the name of a new variable; `number` is different for each, and `used` are the names of the others."""
        return f"{stem}_{number}" if stem in used else stem

    @abstractmethod
    def define(self, name: str, text: str) -> list[str]:
        """Write the definition of a number."""

    @abstractmethod
    def define_entry(self, name: str, text: str) -> tuple[list[str], str]:
        """Return the lines that define a function of k, if any, and how its value is written."""

    @abstractmethod
    def reduce(self, name: str, reduction: str, entry: str) -> list[str]:
        """Write the definition of a number, the ``row_max`` or ``row_sum`` of an expression in k."""

    def entry_result(self, text: str) -> str:
        """Write the result of a row-wise formula, an expression in k."""
        return text

    @abstractmethod
    def function(self, formula: Translation) -> str:
        """Write the function."""


class Translator:
    """Collects the text of formulas in a language, and of the formulas that they call.

    Parameters
    ----------
    language : Language
    """

    def __init__(self, language: Language) -> None:
        self.language = language
        self._names: dict[tuple[Any, bool], str] = {}
        self._parts: list[str] = []

    def add(self, function: Function, rowwise: bool = False) -> str:
        """Translate a formula and what it calls, once; return its name there.

        Raises
        ------
        TranslationError
            If the source is not available, or uses what formulas may not use.
        """
        key = function, rowwise
        if key not in self._names:
            name = _identifier(function)
            while name in self._names.values():
                name += "_"
            text = _Formula(self, function, rowwise).text(name)  # first the formulas that it calls
            self._names[key] = name
            self._parts.append(text)
        return self._names[key]

    def text(self) -> str:
        """The functions, each after those that it calls."""
        return "\n".join(self._parts)


class _Formula:
    """The translation of one function."""

    def __init__(self, translator: Translator, function: Function, rowwise: bool) -> None:
        self.translator, self.language, self.rowwise = translator, translator.language, rowwise
        self.where = getattr(function, "__name__", type(function).__name__)
        self.known: dict[str, Any] = {}  # names that refer to Python objects
        self.values: dict[str, str] = {}  # names that refer to numbers, and how these are written
        self.entries: set[str] = set()  # those of them that are functions of k
        self.used: set[str] = set()  # names of arguments and variables
        self.lines: list[str] = []
        self.arguments = self._bind(function)
        tree = _source(self.code)
        body = list(_statements(tree.body)) if isinstance(tree, ast.FunctionDef) else [ast.Return(tree.body)]
        if not body or not isinstance(body[-1], ast.Return) or body[-1].value is None:
            raise TranslationError(f"{self.where} does not end with a return of a value")
        for statement in body[:-1]:
            self._assign(statement)
        result = body[-1].value
        self.is_tuple = isinstance(result, ast.Tuple)
        self.results = [self._result(part) for part in (result.elts if isinstance(result, ast.Tuple) else [result])]

    def _bind(self, function: Function) -> list[str]:
        """Find the code and what its free names refer to; return the names of the arrays among the arguments."""
        receiver = []
        if not isinstance(function, types.FunctionType):
            method = vars(type(function)).get("__call__")
            if not isinstance(method, types.FunctionType):
                raise TranslationError(f"{self.where} is not a Python function")
            receiver, function = [function], method
        self.code = function.__code__
        free = inspect.getclosurevars(function)
        self.known |= vars(builtins) | function.__globals__ | dict(free.nonlocals)
        names = list(self.code.co_varnames[: self.code.co_argcount])
        for name, value in zip(names, receiver, strict=False):
            self.known[name] = value
        names = names[len(receiver) :]
        if names and names[0] == "xp":
            self.known["xp"] = _Namespace()
            names = names[1:]
        if self.rowwise:
            self.entries |= set(names)
        arguments = []
        for name in names:
            argument, self.values[name] = self.language.argument(name, self.rowwise)
            arguments.append(argument)
        self.used |= set(arguments)
        return arguments

    # -- statements ---------------------------------------------------------------------------------

    def _assign(self, statement: ast.stmt) -> None:
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
            raise self._not_understood(statement)
        target, value = statement.targets[0], statement.value
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            pairs = list(zip(target.elts, value.elts, strict=True))
        else:
            pairs = [(target, value)]
        new = []  # of all names, before any of them changes
        for variable, part in pairs:
            if not isinstance(variable, ast.Name):
                raise self._not_understood(statement)
            new.append((variable.id, *self._define(variable.id, part)))
        for python_name, name, is_entry in new:
            self.values[python_name] = name
            (self.entries.add if is_entry else self.entries.discard)(python_name)

    def _define(self, stem: str, value: ast.expr) -> tuple[str, bool]:
        """Write the definition of a value; return how it is written from now on, and whether it is a function of k."""
        is_entry = self._is_entry(value)
        text = self._expression(value, _ATOM if is_entry else _CHOICE)
        name = self._variable(stem)
        if is_entry:
            lines, reference = self.language.define_entry(name, text)
        else:
            lines, reference = self.language.define(name, text), name
        self.lines += lines
        return reference, is_entry

    def _variable(self, stem: str) -> str:
        name = self.language.variable(stem, len(self.lines), self.used)
        self.used.add(name)
        return name

    def _result(self, value: ast.expr) -> str:
        text = self._expression(value)
        return self.language.entry_result(text) if self.rowwise else text

    def _is_entry(self, node: ast.expr) -> bool:
        """Whether an expression depends on the entry k; reductions of the row do not."""
        if isinstance(node, ast.Call) and str(self._elementary(node.func)).startswith("row_"):
            return False
        if isinstance(node, ast.Name):
            return node.id in self.entries
        return any(self._is_entry(child) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))

    # -- expressions --------------------------------------------------------------------------------

    def _expression(self, node: ast.expr, weakest: int = _CHOICE) -> str:
        """Write an expression, in parentheses if it binds less than `weakest`."""
        text, strength = self._operation(node)
        enclose = strength < (_ATOM if self.language.all_parentheses else weakest)
        return f"({text})" if enclose else text

    def _operation(self, node: ast.expr) -> tuple[str, int]:
        """Write an expression without parentheses around it; return how strongly it binds."""
        match node:
            case ast.Name(id=name) if name in self.values:
                return self.values[name], _ATOM
            case ast.UnaryOp(op=ast.USub()):
                return f"-{self._expression(node.operand, _ATOM)}", _SIGN
            case ast.BinOp() if type(node.op) in _OPERATORS:
                return self._binary(node.left, *_OPERATORS[type(node.op)], node.right)
            case ast.BinOp() if type(node.op) in _CONNECTIVES and self._are_conditions(node.left, node.right):
                # a compiler warns of && within || without parentheses
                left, right = (self._expression(side, _COMPARISON) for side in (node.left, node.right))
                return f"{left} {_CONNECTIVES[type(node.op)]} {right}", _CONNECTIVE
            case ast.BinOp(op=ast.Pow(), right=ast.Constant(value=2)):
                return self._binary(node.left, "*", _PRODUCT, node.left)
            case ast.Compare() if len(node.ops) == 1 and type(node.ops[0]) in _COMPARISONS:
                return self._binary(node.left, _COMPARISONS[type(node.ops[0])], _COMPARISON, node.comparators[0])
            case ast.Call() if not node.keywords:
                return self._call(node)
        value = self._static(node)
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            raise self._not_understood(node)
        if not np.isfinite(value):
            raise TranslationError(f"{self.where} uses the constant {value}")
        return self.language.number(float(value)), _ATOM if value >= 0 else _SIGN

    def _binary(self, left: ast.expr, sign: str, strength: int, right: ast.expr) -> tuple[str, int]:
        """Write an operation; the grouping of the formula is kept, because rounding depends on it."""
        return f"{self._expression(left, strength)} {sign} {self._expression(right, strength + 1)}", strength

    def _are_conditions(self, *nodes: ast.expr) -> bool:
        def is_condition(node: ast.expr) -> bool:
            if isinstance(node, ast.BinOp) and type(node.op) in _CONNECTIVES:
                return is_condition(node.left) and is_condition(node.right)
            return isinstance(node, ast.Compare)

        return all(map(is_condition, nodes))

    def _call(self, node: ast.Call) -> tuple[str, int]:
        name = self._elementary(node.func)
        if name in ("row_max", "row_sum"):
            if not self.rowwise:
                raise TranslationError(f"{self.where} uses {name}, but it is not declared row-wise")
            entry = self._expression(node.args[0])
            variable = self._variable(name)
            self.lines += self.language.reduce(variable, name, entry)
            return variable, _ATOM
        takes_namespace = bool(node.args) and isinstance(self._static(node.args[0]), _Namespace)
        if name == "where":
            if len(node.args) != 3 or not self._are_conditions(node.args[0]):
                raise self._not_understood(node)
            condition, first, second = (self._expression(argument, _CONNECTIVE) for argument in node.args)
            return f"{condition} ? {first} : {second}", _CHOICE
        arguments = [self._expression(argument) for argument in node.args[takes_namespace:]]
        if name:
            return self.language.elementary(name, arguments), _ATOM
        function = self._static(node.func)
        if not callable(function):
            raise self._not_understood(node)
        return self.language.call(self.translator.add(function), arguments), _ATOM

    def _elementary(self, node: ast.expr) -> str | None:
        """Name of the elementary function that an expression refers to, or None."""
        if isinstance(node, ast.Attribute) and isinstance(self._static(node.value), _Namespace):
            if node.attr not in NAMES + ROW_NAMES:
                raise TranslationError(
                    f"{self.where} uses xp.{node.attr}, which is not one of the elementary functions"
                )
            return node.attr
        value = self._static(node)
        try:
            return _ELEMENTARY.get(value)
        except TypeError:  # not hashable
            return None

    def _static(self, node: ast.expr) -> Any:
        """The Python object that an expression refers to before any number is known, or None."""
        match node:
            case ast.Constant():
                return node.value
            case ast.Name(id=name) if name not in self.values:
                return self.known.get(name)
            case ast.Attribute():
                return getattr(self._static(node.value), node.attr, None)
        return None

    def _not_understood(self, node: ast.AST) -> TranslationError:
        return TranslationError(f"{self.where} uses {ast.unparse(node)!r:.80}")

    def text(self, name: str) -> str:
        parts = Translation(name, self.arguments, self.lines, self.results, self.is_tuple, self.rowwise)
        return self.language.function(parts)


def _identifier(function: Function) -> str:
    name = getattr(function, "__name__", type(function).__name__).strip("<>_")
    return name if name.isascii() and name.isidentifier() else "function"


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that compute; docstrings are left out, and so is `numpy.errstate`, which only concerns NumPy."""
    for statement in body:
        if isinstance(statement, ast.With) and all(_is_errstate(item.context_expr) for item in statement.items):
            yield from _statements(statement.body)
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            yield statement


def _is_errstate(context: ast.expr) -> bool:
    return isinstance(context, ast.Call) and ast.unparse(context.func).split(".")[-1] == "errstate"


@functools.lru_cache(maxsize=100)
def _source(code: types.CodeType) -> ast.FunctionDef | ast.Lambda:
    """The syntax tree of a function: the smallest function in its file that contains the positions of its code."""
    try:
        lines, _ = inspect.findsource(code)
        text = "".join(lines)
        tree = ast.parse(text)
    except (OSError, SyntaxError, IndexError, TypeError) as error:
        raise TranslationError(f"the source of {code.co_name} is not available ({error})") from error
    if not any(_same(compiled, code) for compiled in _code_objects(compile(text, "<formula>", "exec"))):
        raise TranslationError(f"the source of {code.co_name} has changed since it was imported")
    places = [place for place in code.co_positions() if None not in place and place[2:] != (0, 0)]
    if not places:
        raise TranslationError(f"the source of {code.co_name} cannot be found, since Python keeps no positions")
    first, last = min((line, column) for line, _, column, _ in places), max((line, end) for _, line, _, end in places)
    functions = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Lambda | ast.FunctionDef)
        and (node.lineno, node.col_offset) <= first
        and last <= (node.end_lineno, node.end_col_offset)
    ]
    if not functions:
        raise TranslationError(f"the source of {code.co_name} cannot be found")
    return max(functions, key=lambda node: (node.lineno, node.col_offset))


def _code_objects(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code of all functions in a module or function."""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _code_objects(constant)


def _same(a: types.CodeType, b: types.CodeType) -> bool:
    def key(code: types.CodeType) -> tuple[Any, ...]:
        numbers = [constant for constant in code.co_consts if isinstance(constant, int | float)]
        return code.co_firstlineno, code.co_code, code.co_varnames, code.co_names, code.co_freevars, numbers

    return key(a) == key(b)
