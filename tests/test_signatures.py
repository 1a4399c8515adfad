"""Backends as modules: required methods, discovery, and errors of broken or foreign backends."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import backends
from backends import Backend, Status
from backends.errors import BackendUnavailableError, ConfigurationError, UnknownNameError

ROOT = Path(__file__).resolve().parents[1]

METHODS = {name: m for name, m in inspect.getmembers(Backend, inspect.isfunction) if not name.startswith("_")}

EXTRA: dict[str, set[str]] = {}
"""Public methods that a backend may have beyond the contract: {backend: names}."""


def python(code, *, cwd=ROOT, path=(ROOT,)):
    """Run code, or a list of arguments, in a new interpreter; return its output."""
    command = ["-c", code] if isinstance(code, str) else code
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", backends.names())
def test_the_shared_tests_run_on(name):
    """Report which backends the `backend` fixture excludes, and why."""
    status = backends.probe(name)
    required = name in os.environ.get("MLP_REQUIRE_BACKENDS", "").split(",")
    assert status.usable or not required, status.reason
    if not status.usable:
        pytest.skip(f"backend {name}: {status.reason}")
    assert name in backends.available()


# -- methods of a backend -----------------------------------------------------------------------------------


def test_the_contract_has_about_twenty_methods():
    assert 15 <= len(METHODS) <= 26


@pytest.mark.parametrize("method", METHODS)
def test_methods_have_the_names_parameters_and_defaults_of_the_base(xp, method):
    expected = inspect.signature(METHODS[method]).parameters.values()
    found = inspect.signature(getattr(type(xp), method)).parameters.values()
    assert [(p.name, p.kind, p.default) for p in found] == [(p.name, p.kind, p.default) for p in expected]


def test_there_are_no_public_methods_beyond_the_contract(xp):
    public = {name for name, _ in inspect.getmembers(type(xp), callable) if not name.startswith("_")}
    assert public - set(METHODS) <= EXTRA.get(xp.name, set())


def test_a_backend_knows_its_name_and_device(backend, xp):
    assert xp.name == backend
    assert xp.device in backends.probe(backend).devices
    assert repr(xp) == f"<backend {backend} on {xp.device}>"
    assert backends.get_backend(backend) is xp


@pytest.mark.parametrize("name", backends.names())
def test_every_module_has_probe_and_create(name):
    """Also for backends that cannot run here: importing the module needs neither its libraries nor its device."""
    module = importlib.import_module(f"backends.{name}_backend")
    assert list(inspect.signature(module.probe).parameters) == []
    assert list(inspect.signature(module.create).parameters) == ["device"]
    status = module.probe()
    assert isinstance(status, Status)
    assert status.usable == bool(status.devices)
    assert status.usable != bool(status.reason)


def test_unknown_attributes_are_attribute_errors(xp):
    with pytest.raises(AttributeError, match="no attribute 'fft'"):
        xp.fft  # noqa: B018


# -- choosing a backend---------------------------------------------------------------------------------------


def test_numpy_is_always_there():
    assert backends.names()[0] == "numpy"
    assert "numpy" in backends.available()


def test_a_misspelt_name_is_corrected():
    with pytest.raises(UnknownNameError, match="did you mean 'numpy'"):
        backends.get_backend("nunpy")


def test_a_backend_on_a_device_it_has_not_is_refused():
    with pytest.raises(ConfigurationError, match="has no device 'cuda:7'"):
        backends.get_backend("numpy", "cuda:7")


def test_nothing_falls_back():
    if "cupy" in backends.available():
        pytest.skip("cupy can run here")
    for arguments in (("cupy",), ("auto", "cuda"), ("auto", "cuda:1")):
        with pytest.raises(BackendUnavailableError, match="cupy"):
            backends.resolve(*arguments)


@pytest.mark.parametrize(("backend_name", "device"), [("numpy", "cuda"), ("numba", "cuda:0"), ("cupy", "cpu")])
def test_a_backend_and_a_device_that_contradict_each_other_are_refused(backend_name, device):
    with pytest.raises(ConfigurationError, match="was asked for"):
        backends.resolve(backend_name, device)


# -- broken installations -------------------------------------------------------------------------------------

BROKEN_CUPY = {
    "raises on import": ("raise ImportError('libcuda.so.1: cannot open')", "libcuda.so.1"),
    "is no longer itself": ("raise SystemError('boom')", "boom"),
    "has no device": ("__version__ = '14.0'\ndef is_available(): return False", "no CUDA device"),
    "has no driver": (
        "__version__ = '14.0'\n"
        "def is_available(): return True\n"
        "class cuda:\n"
        "    class runtime:\n"
        "        @staticmethod\n"
        "        def getDeviceCount(): raise RuntimeError('cudaErrorInsufficientDriver')",
        "cudaErrorInsufficientDriver",
    ),
    "cannot compile": (
        "__version__ = '14.0'\n"
        "def is_available(): return True\n"
        "class cuda:\n"
        "    class runtime:\n"
        "        @staticmethod\n"
        "        def getDeviceCount(): return 1\n"
        "float32 = 'float32'\n"
        "def ones(n, dtype): return 1\n"
        "class RawKernel:\n"
        "    def __init__(self, *a): raise OSError('libnvrtc.so.13 not found')",
        "libnvrtc.so.13",
    ),
}


@pytest.mark.parametrize(("source", "reason"), BROKEN_CUPY.values(), ids=list(BROKEN_CUPY))
def test_a_broken_cupy_is_a_status_and_no_error(tmp_path, source, reason):
    (tmp_path / "cupy").mkdir()
    (tmp_path / "cupy" / "__init__.py").write_text(source)
    code = (
        "import json, mlp, backends; s = backends.status()['cupy']; "
        "print(json.dumps([s.usable, s.reason, backends.available()]))"
    )
    usable, said, available = json.loads(python(code, path=(ROOT, tmp_path)))
    assert not usable
    assert reason in said
    assert "pip install" in said or "driver" in said  # what to do
    assert "numpy" in available
    assert "cupy" not in available


def test_a_backend_without_a_proper_probe_is_a_status_and_no_error(tmp_path):
    copy = shutil.copytree(ROOT / "backends", tmp_path / "backends", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "silent_backend.py").write_text("def probe(): return None")
    (copy / "empty_backend.py").write_text("")
    (copy / "wrong_backend.py").write_text("this is no Python")
    code = "import json, backends; print(json.dumps({n: s.reason for n, s in backends.status().items()}))"
    reasons = json.loads(python(code, cwd=tmp_path, path=(tmp_path,)))
    assert "None" in reasons["silent"]
    assert "probe" in reasons["empty"]
    assert "SyntaxError" in reasons["wrong"]


# -- a new backend is one file ----------------------------------------------------------------------------------

MIRROR = '''
"""A backend of one's own: NumPy, but for one method."""

import numpy as np

from backends import Status, formulas
from backends.base import Backend


class MirrorBackend(Backend):
    name = "mirror"

    def __init__(self):
        super().__init__(np, erfc=formulas.erfc)

    def multiply(self, x, factor):
        self._check_floats("multiply", x=x)
        x[...] = x * factor


def probe():
    return Status(usable=True, devices=("cpu",), version="1")


def create(device):
    return MirrorBackend()
'''

TRIAL = """
import numpy as np
import backends, mlp

assert backends.names()[-1] == "mirror", backends.names()
assert "mirror" in backends.available()
rng = np.random.default_rng(0)
X, y = rng.normal(size=(50, 4)), rng.integers(0, 3, 50)
found = {}
for name in ("numpy", "mirror"):
    net = mlp.MLP([4, 6, 3], activation="tanh", dropout=0.2, dtype="float64", backend=name)
    net.fit(X, y, epochs=2, batch_size=16, optimizer=mlp.SGD(0.1, momentum=0.9))
    assert net.backend == name
    found[name] = net.weights
for ours, reference in zip(found["mirror"], found["numpy"], strict=True):
    assert (ours == reference).all()
"""


def test_a_new_backend_is_one_file(tmp_path):
    """Its file is sufficient: it is found, it trains, and the contract's tests include it automatically."""
    skip = shutil.ignore_patterns("__pycache__", ".*")
    for folder in ("backends", "mlp", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=skip)
    (tmp_path / "backends" / "mirror_backend.py").write_text(MIRROR)
    python(TRIAL, cwd=tmp_path, path=(tmp_path,))
    chosen = "mirror and float32 and (small_integers or out_is_used or multiply or not_written)"
    pytest_arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_contract.py", "-k", chosen]
    assert " passed" in python(pytest_arguments, cwd=tmp_path, path=(tmp_path,))


# -- imports ----------------------------------------------------------------------------------------------------


def test_importing_mlp_imports_nothing_heavy():
    heavy = ["numba", "cupy", "matplotlib", "sklearn", "torch", "polars", "pandas", "onnx", "rich", "click"]
    code = f"import sys, mlp, backends; print([name for name in {heavy} if name in sys.modules])"
    assert python(code).strip() == "[]"


def test_listing_backends_imports_none_of_them():
    code = "import sys, backends; backends.names(); print([m for m in sys.modules if m.endswith('_backend')])"
    assert python(code).strip() == "[]"


def test_using_numpy_needs_no_other_backend():
    code = (
        "import sys, mlp; mlp.MLP([2, 3, 2], backend='numpy').fit([[0, 1], [1, 0]], [0, 1], epochs=1); "
        "print([name for name in ('numba', 'cupy') if name in sys.modules])"
    )
    assert python(code).strip() == "[]"


@pytest.mark.parametrize("kind", ["package", "folder", "file"])
def test_a_foreign_backends_is_named(tmp_path, kind):
    if kind == "file":
        (tmp_path / "backends.py").write_text("")
    else:
        (tmp_path / "backends").mkdir()
        if kind == "package":
            (tmp_path / "backends" / "__init__.py").write_text("")
    home = tmp_path / "home"
    shutil.copytree(ROOT / "mlp", home / "mlp", ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "try:\n    import mlp\n"
        "except ImportError as error:\n    print(type(error).__name__, error)\n"
        "else:\n    print('imported')"
    )
    said = python(code, cwd=tmp_path, path=(tmp_path, home))
    assert said.startswith("ImportError")
    assert str(tmp_path / "backends") in said
