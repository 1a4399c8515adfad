"""A plugin of pytest, ``-p stand_in_gpu.plugin``: installs the stand-in before the tests are collected.

The tests that run on every backend then also run on the backend ``cupy``.  ``--most-examples`` limits the examples of
each property, because a network of another kind needs other kernels, which must be compiled.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

from stand_in_gpu import install


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config):
    early_config.stand_in_gpu, _ = install()


def pytest_addoption(parser):
    parser.addoption("--most-examples", type=int, default=10**6)


def pytest_collection_modifyitems(config, items):
    most = config.getoption("--most-examples")
    for item in items:
        function = getattr(item, "obj", None)
        if hasattr(function, "hypothesis"):
            # @settings beats every profile, and there is no public way to change it
            chosen = getattr(function, "_hypothesis_internal_use_settings", None) or settings.default
            few = settings(chosen, max_examples=min(most, chosen.max_examples))
            function._hypothesis_internal_use_settings = few


@pytest.fixture(autouse=True)
def _memory_is_intact(request):
    yield
    request.config.stand_in_gpu.check()
