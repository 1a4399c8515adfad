"""`Identifiers`: names of columns and categories as identifiers of C, each different from all others."""

from __future__ import annotations

import re
import unicodedata

_RESERVED = frozenset(
    re.findall(
        r"\w+",
        # C, with what later standards and compilers' extensions add
        "asm auto bool break case char const constexpr continue default do double else enum extern false float for "
        "goto if inline int long nullptr register restrict return short signed sizeof static static_assert struct "
        "switch thread_local true typedef typeof union unsigned void volatile while "
        # C++, where the file may be included
        "alignas alignof and and_eq bitand bitor catch char8_t char16_t char32_t class co_await co_return co_yield "
        "compl concept const_cast consteval constinit decltype delete dynamic_cast explicit export friend mutable "
        "namespace new noexcept not not_eq operator or or_eq private protected public reinterpret_cast requires "
        "static_cast template this throw try typeid typename using virtual wchar_t xor xor_eq "
        # macros of some compilers and systems
        "far huge i386 linux mips near pascal sparc stderr stdin stdout sun unix vax windows",
    )
)


LONGEST = 40


def words(text: str) -> str:
    """The ASCII letters and digits of the start of a text, with single underscores between them; may be empty.

    Accents are removed.

    Examples
    --------
    >>> words("Preis (€/m²)"), words("Åsgård"), words("年")
    ('Preis_m2', 'Asgard', '')
    """
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "_", ascii_text).strip("_")[:LONGEST].rstrip("_")


class Identifiers:
    """A set of names in use.

    Examples
    --------
    >>> names = Identifiers()
    >>> [names.new(words(text).lower(), "column") for text in ("int", "2nd", "a b", "a-b", "年")]
    ['int_', 'column_2nd', 'a_b', 'a_b_2', 'column']
    """

    def __init__(self) -> None:
        self._used: set[str] = set()

    def new(self, stem: str, otherwise: str) -> str:
        """Return an identifier like `stem` that is not in use and not reserved; `otherwise` begins one that has to."""
        if not stem:
            stem = otherwise
        elif stem[0].isdigit():
            stem = f"{otherwise}_{stem}"
        if stem in _RESERVED:
            stem += "_"
        name, number = stem, 1
        while name in self._used:
            number += 1
            name = f"{stem}_{number}"
        self._used.add(name)
        return name
