"""The files of `mlp` have no import cycles; the layers are checked by ``lint-imports``."""

from __future__ import annotations

import pytest

grimp = pytest.importorskip("grimp")


def test_no_file_leads_back_to_itself() -> None:
    graph = grimp.build_graph("mlp", cache_dir=None)  # including imports for type checkers and inside functions
    circles = [
        (module, *chain)
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if (chain := graph.find_shortest_chain(importer=imported, imported=module)) is not None
    ]
    assert not circles
