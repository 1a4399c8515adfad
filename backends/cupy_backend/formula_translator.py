"""`CudaTranslator`: writes formulas as CUDA C++, from their Python source.

An elementwise formula becomes a function template over the number type.  One that returns a tuple gets a reference
for each result.  In a row-wise formula every array is a function of the entry's number k, and so is the result:
``row_max`` and ``row_sum`` become reductions over the lanes that share the row, the rest is evaluated for the entries
that are used.

User-defined functions are translated too, if they use only what formulas may use.
"""

from __future__ import annotations

from backends.formulas.translator import Language, Translation, Translator


class CudaTranslator(Translator):
    """Collects the C++ text of formulas and of the formulas that they call.

    Examples
    --------
    >>> from backends.formulas import ACTIVATIONS
    >>> translator = CudaTranslator()
    >>> translator.add(ACTIVATIONS["relu"].forward)
    'relu'
    >>> print(translator.text())
    template <class T>
    DEVICE T relu(T z_) {
        return np::maximum<T>(z_, T(0));
    }
    <BLANKLINE>
    """

    def __init__(self) -> None:
        super().__init__(_Cuda())


class _Cuda(Language):
    all_parentheses = True

    def argument(self, name: str, rowwise: bool) -> tuple[str, str]:
        name += "_"  # so that no name is a keyword of C++
        return name, f"{name}(k)" if rowwise else name

    def number(self, value: float) -> str:
        return f"T({value!r})".replace(".0)", ")")

    def elementary(self, name: str, arguments: list[str]) -> str:
        return f"np::{name}<T>({', '.join(arguments)})"

    def call(self, name: str, arguments: list[str]) -> str:
        return f"{name}<T>({', '.join(arguments)})"

    def define(self, name: str, number: int, text: str) -> tuple[list[str], str]:
        return [f"const T {name}_{number} = {text};"], f"{name}_{number}"

    def define_entry(self, name: str, number: int, text: str) -> tuple[list[str], str]:
        return [f"auto {name}_{number} = {self.entry_result(text)};"], f"{name}_{number}(k)"

    def reduce(self, name: str, number: int, entry: str) -> tuple[list[str], str]:
        reduction = f"row.template {name.removeprefix('row_')}<T>({self.entry_result(entry)})"
        return [f"const T {name}_{number} = {reduction};"], f"{name}_{number}"

    def entry_result(self, text: str) -> str:
        return f"[=](int k) -> T {{ return {text}; }}"

    def function(self, formula: Translation) -> str:
        results = formula.results
        if formula.rowwise:
            kinds = ["class T", "class Row", *(f"class A{i}" for i in range(len(formula.arguments)))]
            takes = ["Row row", *(f"A{i} {argument}" for i, argument in enumerate(formula.arguments))]
            result = f"Pair({', '.join(results)})" if formula.is_tuple else results[0]
            returns, last = "auto", [f"return {result};"]
        else:
            kinds, takes = ["class T"], [f"T {argument}" for argument in formula.arguments]
            if formula.is_tuple:
                takes += [f"T& result_{i}" for i in range(len(results))]
                # an argument may be the variable that receives a result
                last = [f"const T value_{i} = {value};" for i, value in enumerate(results)]
                last += [f"result_{i} = value_{i};" for i in range(len(results))]
            else:
                last = [f"return {results[0]};"]
            returns = "void" if formula.is_tuple else "T"
        body = "".join(f"    {line}\n" for line in formula.lines + last)
        return f"template <{', '.join(kinds)}>\nDEVICE {returns} {formula.name}({', '.join(takes)}) {{\n{body}}}\n"
