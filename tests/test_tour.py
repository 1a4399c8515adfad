"""The tour in the documentation: its sections run in order in one folder, and give the output shown."""

from __future__ import annotations

import re

import examples
import pytest

PAGE = examples.DOCS / "tour.md"
SECTIONS = re.split(r"^## \d+\. ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tour")


def blocks(number):
    return examples.blocks(PAGE, SECTIONS[number - 1])


def test_there_are_ten():
    assert len(SECTIONS) == 10
    assert all(any(block.runs for block in blocks(number)) for number in range(1, 11))


@pytest.mark.parametrize("number", range(1, 11))
def test_a_section_gives_the_output_shown(number, folder, request, monkeypatch):
    monkeypatch.chdir(folder)
    page_blocks = blocks(number)
    mnist = request.getfixturevalue("mnist_folder") if any(block.needs_mnist for block in page_blocks) else None
    skipped = examples.run(page_blocks, folder, mnist)
    if skipped:
        pytest.skip("; ".join(skipped))


def test_the_comparison_sees_what_is_different():
    assert examples.lines_match("accuracy 98.33%, loss 0.07", "accuracy 98.61%, loss 0.07")
    for line in ("accuracy 90.00%, loss 0.07", "accuracy 98.61%", "accuracy 98.61%, loss 0.07, more"):
        assert not examples.lines_match(line, "accuracy 98.61%, loss 0.07")
    with pytest.raises(AssertionError, match="missing line"):
        examples.assert_matches(["first", "last"], ["first", "...", "middle", "..."])
