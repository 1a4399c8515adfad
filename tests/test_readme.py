"""The README: its Python examples run unchanged, and its two installation commands are single lines."""

from __future__ import annotations

import re

import examples
import pytest

README = examples.README.read_text(encoding="utf-8")


def test_the_python_blocks_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = examples.blocks(examples.README)
    namespace = {"__name__": "__main__"}
    assert sum(block.language == "python" for block in found) >= 2
    assert examples.run(found, tmp_path, None, namespace) == []
    assert namespace["net"].score(namespace["digits"].X_test, namespace["digits"].y_test) > 0.95
    assert (tmp_path / "digits.safetensors").exists()


@pytest.mark.parametrize("end", ["mlp train digits", "python -m pytest -q"])
def test_a_command_for_a_fresh_clone_is_one_line(end):
    [command] = re.findall(rf"^python3 -m venv .venv && .*{re.escape(end)}$", README, re.MULTILINE)
    assert "--editable" in command
