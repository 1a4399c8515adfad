"""A plugin of pytest, ``-p stand_in_gpu.plugin``: installs the stand-in before the tests are collected.

The tests that run on every backend then also run on the backend ``cupy``.
"""

from __future__ import annotations

import pytest

from stand_in_gpu import install


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config):
    early_config.stand_in_gpu, _ = install()


@pytest.fixture(autouse=True)
def _memory_is_intact(request):
    yield
    request.config.stand_in_gpu.check()
