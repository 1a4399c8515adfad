"""Networks of scikit-learn and PyTorch as `MLP`: the same predictions, and training goes on."""

from __future__ import annotations

from typing import Any

from mlp.io import pytorch, scikit_learn
from mlp.model import MLP

__all__ = ["from_sklearn", "from_torch"]


def from_sklearn(estimator: Any, *, backend: str = "auto", device: str = "auto") -> MLP:
    """The network of a fitted MLPClassifier or MLPRegressor, scikit-learn's or ours.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Fitted; it is not changed.
    backend, device : str
        As in `MLP`.

    Returns
    -------
    MLP
        Of the dtype of ``coefs_``.  Its ``classes`` are ``classes_``, and `MLP.predict` gives their positions:
        ``estimator.classes_[net.predict(X)]`` are the labels.

    Raises
    ------
    ConfigurationError
        If it is no such estimator, is not fitted, or has seen one class only.

    Notes
    -----
    `MLP.fit` goes on with the loss whose slope scikit-learn follows, and with ``l2 = alpha / batch_size``.  For several
    labels, and for several Poisson outputs, scikit-learn takes the sum over the outputs where ours is their mean: to
    go on at the same pace by SGD, multiply the learning rate by their number and divide ``net.l2`` by it.  After
    ``solver="lbfgs"``, which divides `alpha` by a number of rows that the estimator does not tell, ``l2`` is 0.  The
    optimizer's memory starts anew.

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
    """The network of a torch.nn.Sequential or of a state_dict.

    Parameters
    ----------
    source : torch.nn.Sequential, torch.nn.Linear, or mapping of str to tensor
        A stack, nested or not, of Linear, Dropout, Flatten, Identity and the activations Sigmoid, Tanh, ReLU,
        LeakyReLU, ELU, SELU, GELU, SiLU, Softplus, and for the output also Softmax and LogSoftmax.  Or the state_dict
        of a module whose layers follow each other: in the order of their numbers (``net.0.weight``, ``net.2.weight``)
        or, where names differ in more than a number, in that of the mapping.  It is not changed.
    activation : str, Activation, or a sequence of them
        Of the hidden layers of a state_dict, which does not tell them.  A module does.
    output_activation : str or Activation
        What follows the last layer.  ``"auto"``: what the module has there; if nothing, what the loss asks for.
    loss : str or Loss, optional
        To go on training with.  Default: ``cross_entropy`` after softmax, ``binary_cross_entropy`` after sigmoid,
        ``poisson`` after exp, else ``mse``.  **For a module that ends in logits name the loss**, ``"cross_entropy"``
        for one that was trained by torch.nn.CrossEntropyLoss: the network's output is then their softmax.
    **settings
        Further arguments of `MLP`: ``classes``, ``input_scale``, ``l2``, ``seed``, ``backend``, ``device``, ...

    Returns
    -------
    MLP
        Of the dtype of the weights.  `MLP.feedforward` gives what the module gives in evaluation mode; after
        LogSoftmax, the probabilities themselves.

    Raises
    ------
    ConfigurationError
        If part of it cannot be in a multilayer perceptron, or has another slope or constant than ours; the text names
        the part.
    ShapeError
        If the layers do not follow each other.
    DtypeError
        If the weights are neither float32 nor float64, or both.

    Notes
    -----
    Our layers always have biases: where a Linear has none it gets zeros, a warning is logged, and training changes
    them.

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
