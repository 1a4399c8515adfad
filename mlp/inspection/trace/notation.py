"""The symbols and formulas of a trace in HTML and in LaTeX."""

from __future__ import annotations

import re
from html import escape

_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_LAYER = re.compile(f"⁽([{_RAISED}]+)⁾")
_POWER = re.compile(f"[⁻{_RAISED}]+")
_LOWERED = {"₁": "1", "₂": "2", "ⱼ": "j"}
_RAISED_LETTERS = {"ᵀ": "T", "ᵏ": "k"}
_FUNCTIONS = {"tanh", "max", "min", "ln"}
_LATEX = {
    "⊙": r"\odot ", "·": r"\cdot ", "Σ": r"\sum ", "∂": r"\partial ", "σ": r"\sigma ", "Φ": r"\Phi ", "η": r"\eta ",
    "τ": r"\tau ", "μ": r"\mu ", "ρ": r"\rho ", "ε": r"\epsilon ", "β": r"\beta ", "π": r"\pi ", "½": r"\frac{1}{2}",
    "−": "-", "←": r"\leftarrow ", "≤": r"\leq ", "…": r"\ldots ", "′": "'", "‖": r"\Vert ",
    "|": r"\vert ", "ã": r"\tilde{a}",
}  # fmt: skip


def to_html(text: str, *, prose: bool = False) -> str:
    """A symbol or formula as HTML with subscripts and superscripts; single letters are italic, except in `prose`.

    Examples
    --------
    >>> to_html("(a⁽²⁾ − t)²")
    '(<i>a</i><sup>(2)</sup> − <i>t</i>)<sup>2</sup>'
    """
    text = escape(text, quote=False)
    if not prose:
        text = re.sub(r"(?<![\w&])([a-zA-Zã])(?![A-Za-z0-9_;])", r"<i>\1</i>", text)
    text = _LAYER.sub(lambda match: f"<sup>({match[1].translate(_DIGITS)})</sup>", text)
    text = _POWER.sub(lambda match: f"<sup>{match[0].translate(_DIGITS).replace('-', '−')}</sup>", text)
    for letter, plain in _LOWERED.items():
        text = text.replace(letter, f"<sub>{plain}</sub>")
    for letter, plain in _RAISED_LETTERS.items():
        text = text.replace(letter, f"<sup>{plain}</sup>")
    return _exponents(text, "<i>e</i>^(", "<i>e</i><sup>", "</sup>")


def to_latex(text: str) -> str | None:
    r"""A symbol or formula as LaTeX that both MathJax and matplotlib read; None for names it cannot contain.

    Examples
    --------
    >>> to_latex("(a⁽²⁾ − t)²")
    '(a^{(2)} - t)^{2}'
    >>> to_latex("my_function(z⁽¹⁾)") is None
    True
    """
    if re.search(r"[_$\\{}%#&~]", text):  # these could be escaped, but GitHub reads the escapes as Markdown
        return None
    text = re.sub(r"√([\d.]+(?:e[−+]\d+)?)", r"√{\1}", text)
    text = re.sub(r"(\d)e([−+])0*(\d+)", lambda m: rf"{m[1]} · 10^{{{'-' * (m[2] == '−')}{m[3]}}}", text)
    text = _exponents(text, "e^(", "e^{", "}")
    text = _exponents(text, "√(", "√{", "}")
    text = re.sub(r"√Σ g²", "√{Σ g²}", text)
    text = re.sub(r"√(\w\([^()]*\))", r"√{\1}", text)
    text = re.sub(r"(?:(?<=\s)|\b)[A-Za-z]{2,}(?: [A-Za-z]{2,})*", _words, text)
    text = text.replace("√", r"\sqrt")
    text = _LAYER.sub(lambda match: f"^{{({match[1].translate(_DIGITS)})}}", text)
    text = _POWER.sub(lambda match: f"^{{{match[0].translate(_DIGITS)}}}", text)
    for letter, plain in _LOWERED.items():
        text = text.replace(letter, f"_{{{plain}}}")
    for letter, plain in _RAISED_LETTERS.items():
        text = text.replace(letter, f"^{{{plain}}}")
    for written, latex in _LATEX.items():
        text = text.replace(written, latex)
    text = re.sub(r"\\(sum|Phi|sigma|beta|eta|tilde\{a\}) (?=[_^)(])", r"\\\1", text)
    return re.sub(r"  +", " ", text).strip()


def _words(match: re.Match[str]) -> str:
    words = match[0]
    return f"\\{words}" if words in _FUNCTIONS else rf"\text{{ {words} }}" if words != "sign" else r"\text{sign}"


def _exponents(text: str, opening: str, new_opening: str, new_closing: str) -> str:
    """Replace `opening` and the parenthesis that closes it; the innermost last."""
    while opening in text:
        before, _, rest = text.partition(opening)
        depth, end = 1, 0
        while depth and end < len(rest):
            depth += {"(": 1, ")": -1}.get(rest[end], 0)
            end += 1
        text = f"{before}{new_opening}{rest[: end - 1]}{new_closing}{rest[end:]}"
    return text
