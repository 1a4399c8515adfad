"""Schedules and the scalars of update rules as functions of JavaScript, translated from their Python source.

They compute a few numbers a step, and may branch and change their object.  The formulas of `backends.formulas`, which
are for arrays, may not.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from mlp._backends import formulas

FLOOR_DIVIDE = """\
/** a // b as Python computes it. */
function floorDivide(a, b) {
  const rest = a % b;
  const quotient = (a - rest) / b - (rest && b < 0 !== rest < 0 ? 1 : 0);
  const whole = Math.floor(quotient);
  return quotient - whole > 0.5 ? whole + 1 : whole;
}
"""

_BINARY = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
_COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_FUNCTIONS = {
    "float": "", "int": "Math.trunc", "min": "Math.min", "max": "Math.max", "sqrt": "Math.sqrt",
    "math.cos": "Math.cos", "math.log2": "Math.log2",
}  # fmt: skip


def scalar_function(function: Callable[..., Any], name: str) -> str:
    """The text of a function; keyword-only arguments become one object, and a tuple becomes an array.

    Raises
    ------
    TranslationError
        If the source is not available, or uses something that is not translated; the message names it.

    Examples
    --------
    >>> from mlp.schedules import Exponential
    >>> print(scalar_function(Exponential.__call__, "exponential"))
    function exponential(self, step, epoch) {
      return (self.learning_rate * (self.factor ** epoch));
    }
    <BLANKLINE>
    """
    try:
        source = inspect.getsource(function)
    except OSError as error:
        raise formulas.TranslationError(f"the source of {name} is not available ({error})") from error
    tree = ast.parse(textwrap.dedent(source)).body[0]
    assert isinstance(tree, ast.FunctionDef)
    names = [argument.arg for argument in tree.args.args]
    keywords = [argument.arg for argument in tree.args.kwonlyargs]
    arguments = [*names, f"{{ {', '.join(keywords)} }}"] if keywords else names
    assigned = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    local = [f"  let {', '.join(sorted(assigned))};"] if assigned else []
    lines = [*local, *_block(tree.body, "  ")]
    return "\n".join([f"function {name}({', '.join(arguments)}) {{", *lines, "}\n"])


def _block(body: list[ast.stmt], indent: str) -> list[str]:
    lines = []
    for statement in body:
        match statement:
            case ast.Expr(value=ast.Constant()):  # a docstring
                pass
            case ast.Return(value=None):
                lines.append(f"{indent}return;")
            case ast.Return(value=ast.expr() as value):
                lines.append(f"{indent}return {_expression(value)};")
            case ast.Assign(targets=[target], value=value):
                lines.append(f"{indent}{_expression(target)} = {_expression(value)};")
            case ast.AugAssign(target=target, op=op, value=value) if type(op) in _BINARY:
                lines.append(f"{indent}{_expression(target)} {_BINARY[type(op)]}= {_expression(value)};")
            case ast.If(test=test, body=inner, orelse=[]):
                lines += [f"{indent}if ({_expression(test)}) {{", *_block(inner, f"{indent}  "), f"{indent}}}"]
            case _:
                raise _not_understood(statement)
    return lines


def _expression(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return repr(value)
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            return f"self.{name}"
        case ast.Attribute(value=ast.Name(id="math"), attr="pi"):
            return "Math.PI"
        case ast.Tuple(elts=parts):
            return f"[{', '.join(map(_expression, parts))}]"
        case ast.BinOp(left=left, op=ast.FloorDiv(), right=right):
            return f"floorDivide({_expression(left)}, {_expression(right)})"
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return f"({_expression(left)} {_BINARY[type(op)]} {_expression(right)})"
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
            return f"{_expression(left)} {_COMPARISONS[type(op)]} {_expression(right)}"
        case ast.Call(func=function, args=arguments, keywords=[]) if ast.unparse(function) in _FUNCTIONS:
            name, texts = _FUNCTIONS[ast.unparse(function)], ", ".join(map(_expression, arguments))
            return f"{name}({texts})" if name else texts
    raise _not_understood(node)


def _not_understood(node: ast.AST) -> formulas.TranslationError:
    return formulas.TranslationError(f"{ast.unparse(node)!r:.80} has no translation into JavaScript")
