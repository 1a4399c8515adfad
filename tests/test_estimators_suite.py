"""scikit-learn's tests of its MLP, run with our classes.

The test module is part of scikit-learn's wheel.  Its source is executed here with a different import of the tested
classes, so that each of its tests becomes a test of this file.
"""

from __future__ import annotations

from importlib import resources

import pytest

SKLEARN_IMPORT = "from sklearn.neural_network import MLPClassifier, MLPRegressor"
OUR_IMPORT = "from mlp import MLPClassifier, MLPRegressor"

USES_PRIVATE_METHODS = {
    "test_gradient": "calls the private _loss_grad_lbfgs with scikit-learn's working arrays; the gradients of every "
    "activation and loss are compared with central differences in test_gradients.py",
}


@pytest.fixture
def global_random_seed():
    """The fixture of scikit-learn's conftest, with its default value."""
    return 42


source = resources.files("sklearn.neural_network.tests").joinpath("test_mlp.py")
text = source.read_text()
assert text.count(SKLEARN_IMPORT) == 1
exec(compile(text.replace(SKLEARN_IMPORT, OUR_IMPORT), str(source), "exec"))

for name, reason in USES_PRIVATE_METHODS.items():
    globals()[name] = pytest.mark.xfail(raises=AttributeError, reason=reason)(globals()[name])
