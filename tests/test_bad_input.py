"""Invalid input: the type and the message of each error, and that the network is unchanged after it."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
from scipy import sparse

import backends
import mlp
from mlp import schedules

RNG = np.random.default_rng(3)
X = RNG.normal(size=(12, 4))
Y = np.arange(12) % 3
ONES = np.ones(12)
NAN, INF = float("nan"), float("inf")


def make(sizes=(4, 5, 3), **options):
    return mlp.MLP(sizes, **{"backend": "numpy"} | options)


def regressor(**options):
    return make((4, 5, 2), **{"loss": "mse"} | options)


def with_one(array, place, value):
    changed = np.array(array, dtype=float)
    changed[place] = value
    return changed


def masked(array, *places):
    result = np.ma.array(array)
    for place in places:
        result[place] = np.ma.masked
    return result


class ArrayOnGPU:
    """An array with the interface of another library's GPU array."""

    __cuda_array_interface__ = {"shape": (12, 4), "typestr": "<f4", "data": (1, False), "version": 3}  # noqa: RUF012


# -- arrays --------------------------------------------------------------------------------------------

INPUTS = {
    "wrong width": (X[:, :3], mlp.ShapeError, "its 3 columns must equal the network's 4 inputs"),
    "one dimension": (X[0], mlp.ShapeError, "X.reshape(1, -1)"),
    "three dimensions": (X.reshape(12, 2, 2), mlp.ShapeError, "X.reshape(len(X), -1)"),
    "a number": (1.0, mlp.ShapeError, "two dimensions"),
    "no rows": (X[:0], mlp.DataError, "X is empty, (0, 4)"),
    "objects": (X.astype(object), mlp.DtypeError, "dtype object"),
    "complex numbers": (X + 1j, mlp.DtypeError, "real and imaginary parts"),
    "text": ([["a", "b", "c", "d"]] * 12, mlp.DtypeError, "encode text as numbers"),
    "bytes": ([[b"a", b"b", b"c", b"d"]] * 12, mlp.DtypeError, "encode text as numbers"),
    "dates": (np.zeros((12, 4), "datetime64[D]"), mlp.DtypeError, "datetime64"),
    "nothing": (None, mlp.DtypeError, "X is None"),
    "rows of different lengths": ([[1, 2, 3, 4], [1, 2]], mlp.DtypeError, "rows of different lengths"),
    "a sparse matrix": (sparse.csr_matrix(X), mlp.DtypeError, "X.toarray()"),
    "a sparse array": (sparse.coo_array(X), mlp.DtypeError, "X.toarray()"),
    "an array on a GPU": (ArrayOnGPU(), mlp.WrongDeviceError, "to_numpy"),
    "NaN": (with_one(X, (7, 2), NAN), mlp.DataError, "X[7, 2] is nan, and 1 of its 48 values are not finite. Remove"),
    "infinity": (with_one(X, (7, 2), INF), mlp.DataError, "X[7, 2] is inf"),
    "both infinities": (with_one(with_one(X, (1, 1), INF), (2, 1), -INF), mlp.DataError, "X[1, 1] is inf, and 2 of"),
    "too large for float32": (with_one(X, (7, 2), 1e39), mlp.DataError, "too large for float32"),
    "masked": (masked(X, (7, 2), (8, 0)), mlp.DataError, "X[7, 2] is masked, and 2 of the 48 values of X are"),
    "masked rows": ([*X[:5], masked(X[5], 1), *X[6:]], mlp.DataError, "X[5][1] is masked"),
}

CLASS_TARGETS = {
    "too few": (Y[:11], mlp.ShapeError, "y (11,) has 11 rows and X has 12"),
    "too many": (np.append(Y, 0), mlp.ShapeError, "y (13,) has 13 rows and X has 12"),
    "a number": (1, mlp.ShapeError, "no rows"),
    "columns that are no classes": (np.zeros((12, 2)), mlp.ShapeError, "(12, 3) or (12,) of class numbers"),
    "out of range": (
        with_one(Y, 5, 3),
        mlp.DataError,
        "y[5] = 3 is out of range: 3 outputs are the classes 0 to 2",
    ),
    "negative": (with_one(Y, 5, -1), mlp.DataError, "y[5] = -1 is out of range"),
    "masked": (masked(Y, 5), mlp.DataError, "y[5] is masked, and 1 of the 12 values of y are"),
    "not whole": (with_one(Y, 5, 0.5), mlp.DataError, "y[5] = 0.5 is not a class number"),
    "one class": (np.zeros(12, int), mlp.DataError, "only the class 0"),
    "NaN": (with_one(Y, 5, NAN), mlp.DataError, "y[5] is nan"),
    "text": (["a", "b", "c"] * 4, mlp.DtypeError, "y has dtype <U1"),
    "a sparse column": (sparse.csr_matrix(Y).T, mlp.DtypeError, "y.toarray()"),
    "no probabilities": (np.full((12, 3), 2 / 3), mlp.DataError, "row 0 of y sums to 2"),
    "negative probabilities": (np.tile([1.5, -0.5, 0], (12, 1)), mlp.DataError, "from -0.5 to 1.5"),
}

WEIGHTS = {
    "too few": (ONES[:11], mlp.ShapeError, "sample_weight (11,) must be (12,)"),
    "a column": (ONES[:, None], mlp.ShapeError, "must be (12,)"),
    "negative": (with_one(ONES, 3, -1), mlp.DataError, "sample_weight[3] is -1.0: a weight must be zero or positive"),
    "masked": (masked(ONES, 3), mlp.DataError, "sample_weight[3] is masked, and 1 of the 12 values of sample_weight"),
    "all zero": (ONES * 0, mlp.DataError, "zero everywhere"),
    "NaN": (with_one(ONES, 3, NAN), mlp.DataError, "sample_weight[3] is nan"),
    "text": (["1"] * 12, mlp.DtypeError, "sample_weight has dtype"),
}

NUMBER_TARGETS = {
    "a wrong width": ("mse", np.zeros((12, 3)), mlp.ShapeError, "last layer's 2 outputs: it must be (12, 2)"),
    "three dimensions": ("mse", np.zeros((12, 2, 1)), mlp.ShapeError, "it must be (12, 2)"),
    "too large for float32": ("mse", np.full((12, 2), 1e39), mlp.DataError, "too large for float32"),
    "no probabilities": (
        "binary_cross_entropy",
        np.full((12, 2), 1.5),
        mlp.DataError,
        "binary_cross_entropy needs prob",
    ),
    "negative counts": ("poisson", np.full((12, 2), -1), mlp.DataError, "the Poisson loss is for counts"),
}

# -- arguments of fit ----------------------------------------------------------------------------------

FIT = {
    "epochs 0": ({"epochs": 0}, mlp.ConfigurationError, "epochs must be a positive integer"),
    "epochs 1.5": ({"epochs": 1.5}, mlp.ConfigurationError, "epochs must be a positive integer"),
    "epochs True": ({"epochs": True}, mlp.ConfigurationError, "epochs must be a positive integer"),
    "batch_size 0": ({"batch_size": 0}, mlp.ConfigurationError, "batch_size must be a positive integer"),
    "batch_size -1": ({"batch_size": -1}, mlp.ConfigurationError, "batch_size must be a positive integer"),
    "batch_size 2.0": ({"batch_size": 2.0}, mlp.ConfigurationError, "batch_size must be a positive integer"),
    "batch_size 13": ({"batch_size": 13}, mlp.ConfigurationError, "larger than the 12 rows"),
    "no optimizer's name": ({"optimizer": ""}, mlp.UnknownNameError, "unknown optimizer ''"),
    "unknown optimizer": ({"optimizer": "adma"}, mlp.UnknownNameError, "did you mean 'adam'?"),
    "an optimizer's class": ({"optimizer": mlp.SGD}, mlp.ConfigurationError, "mlp.SGD()"),
    "batches of gradient descent": ({"optimizer": "gd", "batch_size": 4}, mlp.ConfigurationError, "use SGD"),
    "validation twice": (
        {"validation_data": (X, Y), "validation_fraction": 0.2},
        mlp.ConfigurationError,
        "not both",
    ),
    "validation without targets": ({"validation_data": X}, mlp.ConfigurationError, "a tuple (X, y)"),
    "validation of another width": ({"validation_data": (X[:, :2], Y)}, mlp.ShapeError, "2 columns"),
    "validation out of range": ({"validation_data": (X, Y + 1)}, mlp.DataError, "out of range"),
    "no validation rows": ({"validation_fraction": 0.0}, mlp.ConfigurationError, "validation_fraction must be"),
    "nothing but validation": ({"validation_fraction": 0.99}, mlp.DataError, "no rows for training"),
    "validation of all": ({"validation_fraction": 1.0}, mlp.ConfigurationError, "below 1"),
    "nothing to watch": ({"early_stopping": True}, mlp.ConfigurationError, "there is no validation set"),
    "an odd rule": ({"early_stopping": 5}, mlp.ConfigurationError, "EarlyStopping(...), not 5"),
    "a callback that cannot be called": ({"callbacks": [3]}, mlp.ConfigurationError, "not 3"),
    "a callback's class": ({"callbacks": [mlp.Callback]}, mlp.ConfigurationError, "a mlp.Callback object"),
    "resuming backwards": ({"resume": True, "epochs": 1}, mlp.ConfigurationError, "has done 2 epochs"),
}

CALLS = {
    **{f"X: {name}": (make, "fit", (x, Y), {}, *rest) for name, (x, *rest) in INPUTS.items()},
    **{f"y: {name}": (make, "fit", (X, y), {}, *rest) for name, (y, *rest) in CLASS_TARGETS.items()},
    **{
        f"sample_weight: {name}": (make, "fit", (X, Y), {"sample_weight": weight}, *rest)
        for name, (weight, *rest) in WEIGHTS.items()
    },
    **{f"fit: {name}": (make, "fit", (X, Y), options, *rest) for name, (options, *rest) in FIT.items()},
    **{
        f"{loss}: {name}": (lambda loss=loss: regressor(loss=loss), "fit", (X, y), {}, *rest)
        for name, (loss, y, *rest) in NUMBER_TARGETS.items()
    },
    "fit: y too long for a portion": (make, "partial_fit", (X[:5], Y), {}, mlp.ShapeError, "12 rows and X has 5"),
    "fit: no y": (make, "fit", (X, None), {}, mlp.DtypeError, "y is None"),
    "fit: tiny weights": (
        make,
        "fit",
        (X, Y),
        {"sample_weight": np.full(12, 1e-50)},
        mlp.DataError,
        "divide them by their mean",
    ),
    "score: huge weights": (make, "score", (X, Y, np.full(12, 1e38)), {}, mlp.DataError, "divide them by their mean"),
    "portion: unknown optimizer": (make, "partial_fit", (X, Y), {"optimizer": "sdg"}, mlp.UnknownNameError, "'sgd'"),
    "predict: width": (make, "predict", (X[:, :3],), {}, mlp.ShapeError, "network's 4 inputs"),
    "predict: masked": (make, "predict", (masked(X, (0, 1)),), {}, mlp.DataError, "drop their rows from all arrays"),
    "score: masked": (make, "score", (X, masked(Y, 2)), {}, mlp.DataError, "y[2] is masked"),
    "validation: masked": (
        make,
        "fit",
        (X, Y),
        {"validation_data": (X, Y, masked(ONES, 3))},
        mlp.DataError,
        "sample_weight[3] is masked",
    ),
    "predict: NaN": (make, "predict", (X * NAN,), {}, mlp.DataError, "X[0, 0] is nan"),
    "predict: empty": (make, "predict", (X[:0],), {}, mlp.DataError, "empty"),
    "score: lengths": (make, "score", (X, Y[:3]), {}, mlp.ShapeError, "3 rows and X has 12"),
    "gradients: lengths": (make, "loss_and_gradients", (X, Y[:3]), {}, mlp.ShapeError, "3 rows and X has 12"),
    "probabilities of numbers": (regressor, "predict_proba", (X,), {}, mlp.ConfigurationError, "not probabilities"),
    "to: unknown": (make, "to", ("nunpy",), {}, mlp.UnknownNameError, "did you mean 'numpy'?"),
}


@pytest.mark.parametrize(("network", "method", "args", "options", "error", "phrase"), CALLS.values(), ids=CALLS)
def test_bad_calls_are_refused_and_lose_nothing(network, method, args, options, error, phrase):
    net = network()
    counts = net.kind.loss.name == "poisson"
    good = Y if net.sizes[-1] == 3 else np.abs(X[:, :2]) if counts else (X[:, :2] > 0).astype(float)
    net.fit(X, good, epochs=2)
    before = pickle.dumps(net)
    with pytest.raises(error, match=re.escape(phrase)):
        getattr(net, method)(*args, **options)
    assert pickle.dumps(net) == before


def test_a_masked_array_without_masked_values_is_an_array():
    nets = [make(), make()]
    nets[0].fit(X, Y, sample_weight=ONES)
    nets[1].fit(masked(X), masked(Y), sample_weight=masked(ONES))
    np.testing.assert_array_equal(nets[0].weights[0], nets[1].weights[0])


def test_masked_values_are_refused_wherever_arrays_enter():
    matrix = masked(X, (1, 2))
    for act in (
        lambda: mlp.data.Preprocessing.fit(matrix),
        lambda: mlp.data.Preprocessing.fit({"a": matrix[:, 2]}),
        lambda: mlp.data.Preprocessing.fit(X).transform(matrix),
        lambda: mlp.data.Dataset("d", matrix, X[:, 0], task="regression"),
        lambda: mlp.classic.squared_differences([1.0, 2.0], masked([1.0, 2.0], 0)),
        lambda: mlp.classic.layer(matrix, np.ones((3, 4)), np.ones(3)),
        lambda: mlp.fit_many([make()], matrix, Y),
    ):
        with pytest.raises(mlp.DataError, match="is masked"):
            act()


ASSIGNMENTS = {
    "too few": ([np.ones((4, 5))], mlp.ShapeError, "2 layers must be 2 arrays, not 1"),
    "transposed": ([np.ones((5, 4)), np.ones((5, 3))], mlp.ShapeError, "weights of layer 1 must have shape (4, 5)"),
    "NaN": ([np.ones((4, 5)), np.full((5, 3), NAN)], mlp.DataError, "weights[1][0, 0] is nan"),
    "too large": ([np.ones((4, 5)), np.full((5, 3), 1e39)], mlp.DataError, "too large for float32"),
    "text": ([np.ones((4, 5)), np.full((5, 3), "a")], mlp.DtypeError, "weights[1] has dtype"),
    "masked": ([masked(np.ones((4, 5)), (1, 2)), np.ones((5, 3))], mlp.DataError, "weights[0][1, 2] is masked"),
    "nothing": (None, mlp.ShapeError, "a list of arrays"),
}


@pytest.mark.parametrize(("values", "error", "phrase"), ASSIGNMENTS.values(), ids=ASSIGNMENTS)
def test_bad_weights_are_refused_and_lose_nothing(values, error, phrase):
    net = make()
    before = pickle.dumps(net)
    with pytest.raises(error, match=re.escape(phrase)):
        net.weights = values
    assert pickle.dumps(net) == before


# -- networks ------------------------------------------------------------------------------------------

NETWORKS = {
    "no sizes": ({"sizes": []}, mlp.ConfigurationError, "an input and an output"),
    "one size": ({"sizes": [4]}, mlp.ConfigurationError, "an input and an output"),
    "a number": ({"sizes": 4}, mlp.ConfigurationError, "a list of widths"),
    "text": ({"sizes": "784"}, mlp.ConfigurationError, "a list of widths"),
    "size 0": ({"sizes": [4, 0, 3]}, mlp.ConfigurationError, "positive integer, not 0"),
    "size -5": ({"sizes": [4, -5, 3]}, mlp.ConfigurationError, "positive integer, not -5"),
    "size 5.0": ({"sizes": [4, 5.0, 3]}, mlp.ConfigurationError, "positive integer, not 5.0"),
    "size True": ({"sizes": [4, True, 3]}, mlp.ConfigurationError, "positive integer, not True"),
    "enormous": ({"sizes": [2**21, 2**21]}, mlp.ConfigurationError, "more than 2**40 weights"),
    "activation": ({"activation": "rleu"}, mlp.UnknownNameError, "unknown activation 'rleu'; did you mean 'relu'?"),
    "no activation": ({"activation": None}, mlp.UnknownNameError, "unknown activation None"),
    "output": ({"output_activation": "sofmax"}, mlp.UnknownNameError, "did you mean 'softmax'?"),
    "loss": (
        {"loss": "cross_entrpy"},
        mlp.UnknownNameError,
        "unknown loss 'cross_entrpy'; did you mean 'cross_entropy'?",
    ),
    "init": ({"init": "he_norm"}, mlp.UnknownNameError, "unknown initializer 'he_norm'; did you mean 'he_normal'?"),
    "dtype": ({"dtype": "float31"}, mlp.UnknownNameError, "unknown dtype 'float31'; did you mean 'float32'?"),
    "dtype int32": ({"dtype": "int32"}, mlp.UnknownNameError, "Valid: float32, float64"),
    "dtype None": ({"dtype": None}, mlp.UnknownNameError, "unknown dtype None"),
    "capitals": ({"activation": "ReLU"}, mlp.UnknownNameError, "did you mean 'relu'?"),
    "one class": ({"sizes": [4, 5, 1]}, mlp.ConfigurationError, "loss='binary_cross_entropy'"),
    "a scaled softmax": (
        {"target_scaling": ([0] * 3, [1] * 3)},
        mlp.ConfigurationError,
        "output_activation='identity', not 'softmax'",
    ),
    "scales of others": (
        {"loss": "mse", "target_scaling": ([0], [1])},
        mlp.ConfigurationError,
        "needs 3 shifts and 3 scales",
    ),
    "backend": ({"backend": "nunba"}, mlp.UnknownNameError, "unknown backend 'nunba'; did you mean 'numba'?"),
    "device": ({"device": "cudda"}, mlp.UnknownNameError, "unknown device 'cudda'; did you mean 'cuda'?"),
    "device cuda:x": ({"device": "cuda:x"}, mlp.UnknownNameError, "unknown device 'cuda:x'"),
    "device 0": ({"device": 0}, mlp.UnknownNameError, "unknown device 0"),
    "numpy on a GPU": ({"backend": "numpy", "device": "cuda"}, mlp.ConfigurationError, "runs on the CPU, but device="),
    "numba on a GPU": (
        {"backend": "numba", "device": "cuda:0"},
        mlp.ConfigurationError,
        "backend='cupy' or device='cpu'",
    ),
    "cupy on the CPU": (
        {"backend": "cupy", "device": "cpu"},
        mlp.ConfigurationError,
        "runs on a GPU, but device='cpu'",
    ),
    "softmax within": ({"activation": "softmax"}, mlp.ConfigurationError, "'softmax' is for the output layer only"),
    "too many activations": ({"activation": ["relu"] * 3}, mlp.ConfigurationError, "3 entries, but the network has 1"),
    "too many rates": ({"dropout": [0.1, 0.1]}, mlp.ConfigurationError, "dropout has 2 entries"),
    "too few inits": ({"init": ["zeros"]}, mlp.ConfigurationError, "init has 1 entry, but the network has 2 layers"),
    "tanh with cross-entropy": (
        {"output_activation": "tanh"},
        mlp.ConfigurationError,
        "Use output_activation='softmax'",
    ),
    "sigmoid with cross-entropy": ({"output_activation": "sigmoid"}, mlp.ConfigurationError, "does not go with output"),
    "exp with mse": ({"output_activation": "exp", "loss": "mse"}, mlp.ConfigurationError, "training diverges"),
    "dropout 1": ({"dropout": 1.0}, mlp.ConfigurationError, "dropout must be at least 0 and below 1, not 1.0"),
    "dropout -0.1": ({"dropout": -0.1}, mlp.ConfigurationError, "at least 0 and below 1"),
    "dropout NaN": ({"dropout": NAN}, mlp.ConfigurationError, "at least 0 and below 1"),
    "dropout text": ({"dropout": "0.5"}, mlp.ConfigurationError, "at least 0 and below 1"),
    "input_dropout 1": ({"input_dropout": 1}, mlp.ConfigurationError, "at least 0 and below 1"),
    "l2 -1": ({"l2": -1}, mlp.ConfigurationError, "l2 must be zero or a positive number"),
    "l1 infinity": ({"l1": INF}, mlp.ConfigurationError, "l1 must be zero or a positive number"),
    "seed -1": ({"seed": -1}, mlp.ConfigurationError, "seed must be an integer from 0 to 2**64 - 1, not -1"),
    "seed 2**64": ({"seed": 2**64}, mlp.ConfigurationError, "seed must be an integer"),
    "seed 1.0": ({"seed": 1.0}, mlp.ConfigurationError, "seed must be an integer"),
    "input_scale 0": ({"input_scale": 0}, mlp.ConfigurationError, "input_scale must be a positive number"),
    "scaling by numbers": (
        {"loss": "mse", "target_scaling": (2.0, 3.0)},
        mlp.ConfigurationError,
        "target_scaling must be a pair of sequences ([shift], [scale]), one number for each output",
    ),
    "scaling by three": (
        {"loss": "mse", "target_scaling": ([0] * 3, [1] * 3, [2] * 3)},
        mlp.ConfigurationError,
        "target_scaling must be a pair of sequences",
    ),
    "preprocessing by its name": (
        {"preprocessing": "standard"},
        mlp.ConfigurationError,
        "preprocessing must be a mlp.data.Preprocessing object, such as mlp.data.load(...).preprocessing, not 'sta",
    ),
    "too few activations": (
        {"sizes": [4, 5, 3], "activation": ["relu", "relu"]},
        mlp.ConfigurationError,
        "activation has 2 entries, but the network has 1 hidden layer.",
    ),
    "one class name": (
        {"sizes": [4, 1], "loss": "binary_cross_entropy", "classes": ["a", "b", "c"]},
        mlp.ConfigurationError,
        "classes has 3 names, but the network has 1 output.",
    ),
    "too few class names": (
        {"classes": ["a", "b"]},
        mlp.ConfigurationError,
        "classes has 2 names, but the network has 3 outputs",
    ),
}


@pytest.mark.parametrize(("options", "error", "phrase"), NETWORKS.values(), ids=NETWORKS)
def test_networks_that_cannot_be(options, error, phrase):
    with pytest.raises(error, match=re.escape(phrase)):
        mlp.MLP(**{"sizes": [4, 5, 3]} | options)


CLASSES = {
    "too few": (["a"], "classes has 1 name, but the network has 3 outputs."),
    "a string": ("abc", "classes must be a list of names, one for each output, not 'abc'"),
    "a number": (3, "classes must be a list of names, one for each output, not 3"),
    "the same twice": (["a", "b", "a"], "classes has the name 'a' 2 times: the names must be different."),
    "lists": ([[1], [2], [3]], "every name in classes must be a string, a number or a boolean."),
}


@pytest.mark.parametrize(("classes", "phrase"), CLASSES.values(), ids=CLASSES)
def test_class_names_are_checked_when_they_are_given_and_when_they_are_assigned(classes, phrase):
    with pytest.raises(mlp.ConfigurationError, match=re.escape(phrase)):
        make(classes=classes)
    net = make(classes=["x", "y", "z"])
    with pytest.raises(mlp.ConfigurationError, match=re.escape(phrase)):
        net.classes = classes
    assert net.classes == ("x", "y", "z")


def test_class_names_can_be_assigned():
    net = make()
    net.classes = np.array(["a", "b", "c"])
    assert net.classes == ("a", "b", "c")
    assert net.copy().classes == pickle.loads(pickle.dumps(net)).classes == net.classes
    net.classes = None
    assert net.classes is None


SINGULAR = {
    "columns and inputs": (lambda net: net.predict(X[:, :2]), "its 2 columns must equal the network's 1 input."),
    "a column": (lambda net: make().predict(X[:, :1]), "its 1 column must equal the network's 4 inputs."),
    "rows": (lambda net: net.fit(X[:, :1], [0.5]), "y (1,) has 1 row and X has 12"),
    "outputs": (lambda net: net.fit(X[:, :1], X[:, :2]), "does not fit the last layer's 1 output: it must be"),
    "layers": (lambda net: setattr(net, "weights", []), "weights of 1 layer must be 1 array, not 0."),
    "target_scaling": (
        lambda net: make((4, 1), loss="mse", target_scaling=([], [])),
        "target_scaling needs 1 shift and 1 scale, one for each output.",
    ),
    "preprocessing": (
        lambda net: make((4, 1), loss="mse", preprocessing=mlp.data.Preprocessing.fit(X[:, :1])),
        "preprocessing gives 1 column, but the network has 4 inputs: they must be equal.",
    ),
}


@pytest.mark.parametrize(("call", "phrase"), SINGULAR.values(), ids=SINGULAR)
def test_one_is_not_in_the_plural(call, phrase):
    with pytest.raises(mlp.MLPError, match=re.escape(phrase)):
        call(make((1, 1), loss="mse"))


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_integers_for_several_outputs_are_classes(loss):
    remedy = "; for regression give y of shape (n, 2), or use one output."
    with pytest.raises(mlp.DataError, match=r"y\[2\] = 2 is out of range") as caught:
        regressor(loss=loss).fit(X, Y)
    assert str(caught.value).endswith(remedy) == (loss == "mse")


# -- optimizers and schedules --------------------------------------------------------------------------

RECIPES = {
    "rate 0": (lambda: mlp.SGD(0), "learning_rate must be a positive number, not 0"),
    "rate -1": (lambda: mlp.Adam(-1.0), "learning_rate must be a positive number"),
    "rate NaN": (lambda: mlp.SGD(NAN), "learning_rate must be a positive number, not nan"),
    "rate infinity": (lambda: mlp.SGD(INF), "learning_rate must be a positive number"),
    "rate text": (lambda: mlp.SGD("fast"), "learning_rate must be a positive number, not 'fast'"),
    "momentum 1": (lambda: mlp.SGD(0.1, momentum=1.0), "momentum must be at least 0 and below 1"),
    "momentum -0.1": (lambda: mlp.SGD(0.1, momentum=-0.1), "momentum must be at least 0"),
    "nesterov alone": (lambda: mlp.SGD(0.1, nesterov=True), "it needs momentum > 0"),
    "rho 1": (lambda: mlp.RMSprop(rho=1), "rho must be at least 0 and below 1"),
    "beta1 1": (lambda: mlp.Adam(beta1=1.0), "beta1 must be at least 0 and below 1"),
    "beta2 2": (lambda: mlp.Adam(beta2=2), "beta2 must be at least 0 and below 1"),
    "epsilon 0": (lambda: mlp.Adagrad(epsilon=0), "epsilon must be a positive number"),
    "weight_decay -1": (lambda: mlp.AdamW(weight_decay=-1), "weight_decay must be zero or a positive number"),
    "clip_norm 0": (lambda: mlp.SGD(0.1, clip_norm=0), "clip_norm must be a positive number"),
    "clip_value -1": (lambda: mlp.SGD(0.1, clip_value=-1), "clip_value must be a positive number"),
    "schedule of rate 0": (lambda: schedules.Cosine(0), "learning_rate must be a positive number"),
    "steps of 0 epochs": (lambda: schedules.Step(0.1, every=0), "every must be a positive number"),
    "all warm-up": (lambda: schedules.Cosine(0.1, epochs=5, warmup=5), "warmup must be less than epochs=5, not 5"),
    "patience 0": (lambda: mlp.EarlyStopping(patience=0), "patience must be a positive integer"),
    "min_delta -1": (lambda: mlp.EarlyStopping(min_delta=-1), "min_delta must be zero"),
    "unknown figure": (
        lambda: mlp.MLP([2, 2]).fit(np.eye(2), [0, 1], early_stopping=mlp.EarlyStopping("val_los")),
        "did you mean 'val_loss'?",
    ),
    "a number as figure": (lambda: mlp.EarlyStopping(3), "monitor must be the name of a metric, not 3"),
    "unknown optimizer": (lambda: mlp.optimizers.from_dict({"name": "adamx"}), "did you mean 'adam'?"),
    "unknown schedule": (
        lambda: schedules.from_dict({"name": "cosin"}),
        "unknown schedule 'cosin'; did you mean 'cosine'?",
    ),
}


@pytest.mark.parametrize(("recipe", "phrase"), RECIPES.values(), ids=RECIPES)
def test_optimizers_and_schedules_that_cannot_be(recipe, phrase):
    with pytest.raises(mlp.ConfigurationError, match=re.escape(phrase)):
        recipe()


# -- other errors --------------------------------------------------------------------------------------


def test_custom_functions_are_given_by_name(tmp_path):
    bent = mlp.custom_activation(
        "bent", lambda xp, z: (xp.sqrt(z * z + 1) - 1) / 2 + z, lambda xp, z: z / (2 * xp.sqrt(z * z + 1)) + 1
    )
    path = tmp_path / "bent.safetensors"
    make(activation=bent).save(path)
    with pytest.raises(mlp.ConfigurationError, match="custom must be a dict of the custom functions by name"):
        mlp.load(path, custom=[bent])


def test_curves_are_drawn_from_a_history():
    with pytest.raises(mlp.ConfigurationError, match=r"curves needs a History.*not <MLP 4-5-3"):
        mlp.plots.curves(make())


def test_there_must_be_something_to_resume():
    net = make()
    with pytest.raises(mlp.ConfigurationError, match="no training to resume"):
        net.fit(X, Y, resume=True)


def test_a_resumed_training_keeps_its_optimizer():
    net = make()
    net.fit(X, Y, epochs=1)
    before = pickle.dumps(net)
    with pytest.raises(mlp.ConfigurationError, match="do not give an optimizer"):
        net.fit(X, Y, epochs=2, optimizer="sgd", resume=True)
    assert pickle.dumps(net) == before


@pytest.mark.parametrize("method", ["fit", "partial_fit", "loss_and_gradients"])
@pytest.mark.parametrize("place", ["activation", "output_activation"])
def test_nothing_is_learnt_through_a_step(method, place):
    net = regressor(**{place: "step"})
    before = pickle.dumps(net)
    with pytest.raises(mlp.NotDifferentiableError, match="train with 'sigmoid' or 'relu' instead"):
        getattr(net, method)(X, X[:, :2])
    assert pickle.dumps(net) == before


@pytest.mark.skipif(backends.probe("cupy").usable, reason="there is a GPU here")
@pytest.mark.parametrize(
    "options", [{"device": "cuda"}, {"device": "cuda:1"}, {"backend": "cupy"}, {"backend": "cupy", "device": "cuda"}]
)
def test_a_gpu_that_is_not_there_is_refused_with_the_reason(options):
    reason = backends.status()["cupy"].reason
    assert reason
    with pytest.raises(mlp.BackendUnavailableError, match=re.escape(reason)):
        make(**options | {"backend": options.get("backend", "auto")})
    net = make()
    with pytest.raises(mlp.BackendUnavailableError, match=re.escape(reason)):
        net.to(**options)
    assert net.backend == "numpy"


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (mlp.ConfigurationError, ValueError),
        (mlp.UnknownNameError, ValueError),
        (mlp.ShapeError, ValueError),
        (mlp.DataError, ValueError),
        (mlp.FileFormatError, ValueError),
        (mlp.DtypeError, TypeError),
        (mlp.WrongDeviceError, TypeError),
        (mlp.BackendUnavailableError, RuntimeError),
        (mlp.DivergenceError, ArithmeticError),
        (mlp.NotDifferentiableError, ValueError),
        (mlp.GradientError, ValueError),
    ],
)
def test_errors_are_ours_and_those_that_python_users_expect(error, builtin):
    assert issubclass(error, mlp.MLPError)
    assert issubclass(error, builtin)
