"""Convert networks of scikit-learn, PyTorch and ONNX to `MLP`, with the same predictions; training can continue."""

from __future__ import annotations

import os
from typing import Any

from mlp.io import pytorch, scikit_learn
from mlp.io.onnx_files import reading
from mlp.model import MLP

__all__ = ["from_onnx", "from_sklearn", "from_torch"]


def from_sklearn(estimator: Any, *, backend: str = "auto", device: str = "auto") -> MLP:
    """Convert a fitted MLPClassifier or MLPRegressor, of scikit-learn or of this library.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A fitted estimator; it is not changed.
    backend, device : str
        As in `MLP`.

    Returns
    -------
    MLP
        A network with the dtype of ``coefs_``.  Its ``classes`` are ``classes_``, and `MLP.predict` returns their
        indices: ``estimator.classes_[net.predict(X)]`` are the labels.

    Raises
    ------
    ConfigurationError
        If it is not such an estimator, is not fitted, or was fitted to a single class.

    Notes
    -----
    `MLP.fit` continues with the loss whose gradient scikit-learn uses, and with ``l2 = alpha / batch_size``.  For
    several labels or Poisson outputs, scikit-learn sums the loss over the outputs, and this library takes the mean: to
    continue with the same SGD steps, multiply the learning rate by the number of outputs and divide ``net.l2`` by it.
    ``solver="lbfgs"`` divides `alpha` by a number of rows that the estimator does not store; then ``l2`` is 0.  The
    optimizer state is not converted: it starts from zero.

    Examples
    --------
    >>> import numpy as np, mlp
    >>> from sklearn.neural_network import MLPClassifier
    >>> X, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array(["same", "other", "other", "same"])
    >>> estimator = MLPClassifier(8, activation="tanh", solver="lbfgs", random_state=0).fit(X, y)
    >>> net = mlp.from_sklearn(estimator)
    >>> net.sizes, net.classes
    ((2, 8, 1), ('other', 'same'))
    >>> bool(np.allclose(net.predict_proba(X), estimator.predict_proba(X)))
    True
    """
    return MLP.of(scikit_learn.from_sklearn(estimator, backend=backend, device=device))


def from_torch(
    source: Any,
    *,
    activation: Any = None,
    output_activation: Any = "auto",
    loss: Any = None,
    **settings: Any,
) -> MLP:
    """Convert a torch.nn.Sequential or a state_dict.

    Parameters
    ----------
    source : torch.nn.Sequential, torch.nn.Linear, or mapping of str to tensor
        A stack, nested or not, of Linear, Dropout, Flatten, Identity and the activations Sigmoid, Tanh, ReLU,
        LeakyReLU, ELU, SELU, GELU, SiLU, Softplus, and for the output also Softmax and LogSoftmax.  Or the state_dict
        of a module whose layers form a chain: in the order of the numbers in their names (``net.0.weight``,
        ``net.2.weight``), or in the order of the mapping if the names differ in more than a number.  It is not changed.
    activation : str, Activation, or a sequence of them
        Activation of the hidden layers.  Required for a state_dict, which does not contain it; a module does.
    output_activation : str or Activation
        Activation of the last layer.  ``"auto"``: that of the module; if it has none, the default for the loss.
    loss : str or Loss, optional
        Loss for further training.  Default: ``cross_entropy`` after softmax, ``binary_cross_entropy`` after sigmoid,
        ``poisson`` after exp, else ``mse``.  **If the module ends in logits, give the loss**: ``"cross_entropy"`` for
        a module trained with torch.nn.CrossEntropyLoss.  The output of the network is then the softmax of the logits.
    **settings
        Further arguments of `MLP`: ``classes``, ``input_scale``, ``l2``, ``seed``, ``backend``, ``device``, ...

    Returns
    -------
    MLP
        A network with the dtype of the weights.  `MLP.feedforward` returns the output of the module in evaluation
        mode; for LogSoftmax, the probabilities instead of their logarithms.

    Raises
    ------
    ConfigurationError
        If a part is not supported, or differs from this library in a constant; the message names the part.
    ShapeError
        If the shapes of consecutive layers do not match.
    DtypeError
        If the weights are neither float32 nor float64, or a mixture of both.

    Notes
    -----
    Layers of this library always have biases.  For a Linear without bias they are zeros, a warning is logged, and
    training changes them.

    Examples
    --------
    A state_dict is a mapping of names to arrays:

    >>> import numpy as np
    >>> state = {"0.weight": np.eye(2), "0.bias": np.zeros(2), "2.weight": np.ones((1, 2)), "2.bias": np.ones(1)}
    >>> net = from_torch(state, activation="relu")
    >>> net.feedforward([[3.0, -4.0]])
    array([[4.]])
    """
    core = pytorch.from_torch(source, activation=activation, output_activation=output_activation, loss=loss, **settings)
    return MLP.of(core)


def from_onnx(path: str | os.PathLike[str], *, loss: Any = None, backend: str = "auto", device: str = "auto") -> MLP:
    """Read an ONNX file that contains a multilayer perceptron: of `MLP.to_onnx`, PyTorch, skl2onnx and others.

    Needs the package onnx.  No code of the file is run, and no other file is opened.

    Parameters
    ----------
    path : str or path-like
    loss : str or Loss, optional
        Loss for further training.  Default: ``cross_entropy`` after softmax, ``binary_cross_entropy`` after sigmoid,
        ``poisson`` after exp, else ``mse``.  **If the graph ends in logits, give the loss**: ``"cross_entropy"`` for a
        PyTorch module trained with torch.nn.CrossEntropyLoss.  The output of the network is then the softmax.
    backend, device : str
        As in `MLP`.

    Returns
    -------
    MLP
        A network with the dtype of the weights, and with the names of the classes if the file has them.  Scaling of a
        uint8 input becomes `input_scale`, and that of outputs `target_scaling`.

    Raises
    ------
    FileFormatError
        If the file is damaged, keeps weights in another file, or contains anything that is not part of a multilayer
        perceptron; the message names the node and its operator.
    ConfigurationError
        If onnx is not installed.

    Notes
    -----
    A graph is a chain of ``Gemm``, or ``MatMul`` and ``Add``.  What is between them is compared with the activations of
    this library by its values, so several nodes may spell one activation.

    **If the graph scales its inputs**, fills missing values or encodes categories, as a pipeline with a StandardScaler
    does, this becomes `preprocessing`, and the network takes its result:
    ``net.predict(net.preprocessing.transform(X))``.  A missing value in a column for which the file has no replacement
    becomes the mean of that column.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "small.onnx"
    >>> MLP([2, 3, 2], "gelu", classes=["no", "yes"]).to_onnx(path)
    >>> net = from_onnx(path)
    >>> net.sizes, net.plan.activations[0].name, net.classes
    ((2, 3, 2), 'gelu', ('no', 'yes'))
    >>> folder.cleanup()
    """
    return MLP.of(reading.from_onnx(path, loss=loss, backend=backend, device=device))
