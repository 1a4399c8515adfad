"""The README's tour: the stations run in one folder, in order, and come to what is shown.

Numbers of a command's output may differ by a hundredth, as they do between processors; ``...`` stands for the rest of a
line, or for any number of lines.
"""

from __future__ import annotations

import doctest
import math
import os
import re
import shlex
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
STATIONS = re.split(r"^\*\*\d+\. ", README.partition("\n## A tour")[2].partition("\n## ")[0], flags=re.MULTILINE)[1:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tour")


def blocks(language, station):
    return re.findall(rf"^```{language}\n(.*?)^```", station, re.MULTILINE | re.DOTALL)


def test_there_are_ten():
    assert len(STATIONS) == 10
    assert all(blocks("pycon", station) or blocks("console", station) for station in STATIONS)


@pytest.mark.parametrize("number", range(1, 11))
def test_in_python(number):
    for block in blocks("pycon", STATIONS[number - 1]):
        test = doctest.DocTestParser().get_doctest(block, {}, f"station {number}", "README.md", 0)
        said = []
        results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
        assert not results.failed, "".join(said)


@pytest.mark.parametrize("number", range(1, 11))
def test_on_the_command_line(number, folder, request):
    station, environment = STATIONS[number - 1], os.environ | {"PYTHONIOENCODING": "utf-8", "COLUMNS": "120"}
    if "mlp train mnist" in station:
        environment["MLP_DATA"] = str(request.getfixturevalue("mnist_folder"))
    if "mlp plot" in station or "mlp report" in station:
        pytest.importorskip("matplotlib", reason="Matplotlib is not installed: pip install '.[plot]'")
    for block in blocks("console", station):
        for part in re.split(r"^\$ mlp ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            arguments = [sys.executable, "-m", "mlp", *shlex.split(command, comments=True)]
            found = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
            assert found.returncode == 0, found.stderr
            assert_shown(found.stdout.splitlines(), shown.splitlines())


def assert_shown(lines, shown):
    lines = iter(lines)
    for expected, before in zip(shown, [None, *shown], strict=False):
        if expected.strip() == "...":
            continue
        if before is not None and before.strip() == "...":
            found = next((line for line in lines if alike(line, expected)), None)
        else:
            found = next(lines, None)
        assert found is not None, f"this never comes: {expected}"
        assert alike(found, expected), f"this comes: {found}\nand not: {expected}"
    if shown[-1:] != ["..."]:
        assert list(lines) == []


def alike(found, shown):
    """Whether a line is the one that is shown, but for the last digits of its numbers."""
    for mine, its in zip_longest(found.split(), shown.split()):
        if its == "...":
            return True
        if mine != its and not close(mine, its):
            return False
    return True


def close(found, shown):
    try:
        a, b = (float(text.strip("[](),%").replace(",", "")) for text in (found, shown))
    except (AttributeError, ValueError):
        return False
    return math.isclose(a, b, rel_tol=0.01)


def test_the_comparison_sees_what_is_different():
    assert alike("accuracy 98.33%, loss 0.07", "accuracy 98.61%, loss 0.07")
    for line in ("accuracy 90.00%, loss 0.07", "accuracy 98.61%", "accuracy 98.61%, loss 0.07, more"):
        assert not alike(line, "accuracy 98.61%, loss 0.07")
    with pytest.raises(AssertionError, match="never comes"):
        assert_shown(["first", "last"], ["first", "...", "middle", "..."])
