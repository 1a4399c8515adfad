"""Compiled code does not use memory that it has freed.

With this setting the C library of Linux returns every block of more than 1 KiB to the system as soon as it is freed, so
that a later access ends the process.  Otherwise such an access is seldom noticed, and can give wrong results if there
are several threads.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np
import backends, mlp

rng = np.random.default_rng(0)
xp = backends.get_backend("numba")
for m, k, n in ((64, 50, 40), (33, 700, 90), (300, 300, 300)):
    for trans_a in (False, True):
        for trans_b in (False, True):
            a, b = rng.normal(size=(m, k)), rng.normal(size=(k, n))
            product = xp.matmul(
                np.ascontiguousarray(a.T) if trans_a else a,
                np.ascontiguousarray(b.T) if trans_b else b,
                trans_a=trans_a,
                trans_b=trans_b,
            )
            np.testing.assert_allclose(product, a @ b, atol=1e-10)
X = rng.normal(size=(2000, 64)) * (rng.random((2000, 64)) < 0.3)
y = (X[:, 0] > 0).astype(int)
reference = None
for backend in ("numpy", "numba"):
    net = mlp.MLP([64, 50, 2], dropout=0.1, backend=backend, dtype="float64")
    net.fit(X, y, epochs=2, optimizer=mlp.Adam(), validation_fraction=0.2)
    p = np.vstack([net.predict_proba(X), net.predict_proba(X[:3]), net.predict_proba(np.asfortranarray(X))])
    reference = p if reference is None else reference
    np.testing.assert_allclose(p, reference, atol=1e-9)
model = mlp.MLPClassifier((20,), solver="lbfgs", max_iter=5, backend="numba", random_state=0).fit(X, y)
print("done", model.predict(X).shape)
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_freed_memory_is_not_used(threads):
    pytest.importorskip("numba")
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1024", "MLP_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done (2000,)\n"), done.stderr
