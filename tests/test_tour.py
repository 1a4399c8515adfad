"""The tour of the documentation: the stations run in one folder, in order, and come to what is shown."""

from __future__ import annotations

import re

import examples
import pytest

PAGE = examples.DOCS / "tour.md"
STATIONS = re.split(r"^## \d+\. ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tour")


def blocks(number):
    return examples.blocks(PAGE, STATIONS[number - 1])


def test_there_are_ten():
    assert len(STATIONS) == 10
    assert all(any(block.runs for block in blocks(number)) for number in range(1, 11))


@pytest.mark.parametrize("number", range(1, 11))
def test_a_station_comes_to_what_is_shown(number, folder, request, monkeypatch):
    monkeypatch.chdir(folder)
    found = blocks(number)
    mnist = request.getfixturevalue("mnist_folder") if any(block.needs_mnist for block in found) else None
    left_out = examples.run(found, folder, mnist)
    if left_out:
        pytest.skip("; ".join(left_out))


def test_the_comparison_sees_what_is_different():
    assert examples.alike("accuracy 98.33%, loss 0.07", "accuracy 98.61%, loss 0.07")
    for line in ("accuracy 90.00%, loss 0.07", "accuracy 98.61%", "accuracy 98.61%, loss 0.07, more"):
        assert not examples.alike(line, "accuracy 98.61%, loss 0.07")
    with pytest.raises(AssertionError, match="never comes"):
        examples.assert_shown(["first", "last"], ["first", "...", "middle", "..."])
