"""Experiments of the course notes: fits of a sine, confidence on random noise, and unscaled inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp import data
from mlp._backends import ConfigurationError
from mlp.checks import counted, require_count
from mlp.classic.text_table import text_table
from mlp.model import MLP
from mlp.optimizers import SGD, Adam
from mlp.schedules import Cosine

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class SineFits:
    """Fits of a sine wave by several networks.

    Attributes
    ----------
    x, y : ndarray, shape (n,)
        The sine wave from -π to π.
    fits : dict of str to ndarray, shape (n,)
        Outputs by network name: ``"linear"``, ``"1 neuron"``, ``"8 neurons"``.
    losses : dict of str to float
        Mean squared errors by network name.
    """

    x: Array
    y: Array
    fits: dict[str, Array]
    losses: dict[str, float]

    def __repr__(self) -> str:
        return f"<SineFits: {counted(len(self.x), 'point')}, {', '.join(self.fits)}>"

    def __str__(self) -> str:
        rows = [(name, f"{loss:.3f}") for name, loss in self.losses.items()]
        return text_table(("hidden layer", "mean squared error"), rows)


def sine_fits(
    neurons: Sequence[int] = (1, 2, 8, 64), *, n: int = 200, epochs: int = 200, seed: int = 2, backend: str = "auto"
) -> SineFits:
    """Fit a sine wave with ReLU networks of one hidden layer, and with a linear network.

    Each ReLU neuron adds one kink to the output; a linear network has none.

    Parameters
    ----------
    neurons : sequence of int
        Width of each network's hidden layer. The first network is linear, with the largest of these widths.
    n : int
        Number of points.
    epochs : int
    seed : int
        With some seeds, neurons are zero for all points (dead ReLUs), and a narrow network cannot learn.
    backend : str

    Returns
    -------
    SineFits

    Examples
    --------
    The best line has an error of about 1/2 - 3/π² = 0.196; more neurons reduce the error:

    >>> print(sine_fits())
    hidden layer  mean squared error
    linear                     0.200
    1 neuron                   0.163
    2 neurons                  0.035
    8 neurons                  0.002
    64 neurons                 0.000
    """
    wave = data.toy("sine", n=n, noise=0.0)
    widths = [require_count("every number of neurons", width) for width in neurons]
    networks = {"linear": ("identity", max(widths))}
    networks |= {f"{width} neuron{'s' * (width > 1)}": ("relu", width) for width in widths}
    fits: dict[str, Array] = {}
    for name, (activation, width) in networks.items():
        net = MLP([1, width, 1], activation, loss="mse", init="normal", seed=seed, dtype="float64", backend=backend)
        net.fit(wave.X, wave.y, epochs=epochs, batch_size=min(20, n), optimizer=Adam(Cosine(0.03, epochs=epochs)))
        fits[name] = net.predict(wave.X)
    return SineFits(wave.X[:, 0], wave.y, fits, {name: float(np.mean((f - wave.y) ** 2)) for name, f in fits.items()})


@dataclass(frozen=True, eq=False)
class NoiseAnswers:
    """Outputs of a digit classifier for random noise and for test images.

    Attributes
    ----------
    images : ndarray, shape (n, 64)
        The noise images, from 0 to 16 like the digits.
    probabilities, test_probabilities : ndarray, shapes (n, 10) and (m, 10)
        Probability of each class, for the noise and for the test images.
    test_score : float
        Accuracy on the test images.
    """

    images: Array
    probabilities: Array
    test_probabilities: Array
    test_score: float

    def __repr__(self) -> str:
        return (
            f"<NoiseAnswers: median confidence {np.median(self.confidence):.3f} for {len(self.images):,} noise images, "
            f"{np.median(self.test_confidence):.3f} for {len(self.test_probabilities):,} test images, "
            f"test accuracy {self.test_score:.3f}>"
        )

    @property
    def confidence(self) -> Array:
        """The largest probability for each noise image, shape (n,)."""
        largest: Array = self.probabilities.max(axis=1)
        return largest

    @property
    def test_confidence(self) -> Array:
        """The largest probability for each test image, shape (m,)."""
        largest: Array = self.test_probabilities.max(axis=1)
        return largest


def confidence_on_noise(net: MLP | None = None, *, n: int = 1000, seed: int = 0, backend: str = "auto") -> NoiseAnswers:
    """Give random noise to a network trained on digits, which has no class for "none of these".

    Parameters
    ----------
    net : MLP, optional
        With 64 inputs and 10 classes, trained on ``mlp.data.load("digits")``. By default, a network is trained.
    n : int
        Number of noise images; each pixel is uniform from 0 to 16.
    seed : int
        For the noise, and for the default network.
    backend : str
        For the default network.

    Returns
    -------
    NoiseAnswers

    Examples
    --------
    >>> result = confidence_on_noise()
    >>> print(f"{result.test_score:.1%} of the test images are classified correctly")
    98.6% of the test images are classified correctly
    >>> print(f"{np.mean(result.confidence > 0.9):.0%} of the noise images have a confidence above 90 %")
    55% of the noise images have a confidence above 90 %
    >>> print(result.probabilities[3].round(2))
    [0. 1. 0. 0. 0. 0. 0. 0. 0. 0.]
    """
    if net is not None and (net.sizes[0], net.sizes[-1]) != (64, 10):
        raise ConfigurationError(
            f"the digits need a network with 64 inputs and 10 outputs, and this one has sizes {net.sizes}."
        )
    digits = data.load("digits")
    if net is None:
        net = MLP([64, 32, 10], input_scale=digits.input_scale, seed=seed, dtype="float64", backend=backend)
        net.fit(digits.X, digits.y, epochs=30, optimizer=Adam(0.005))
    images = np.random.default_rng(seed).integers(0, 17, (require_count("n", n), 64)).astype(digits.X.dtype)
    return NoiseAnswers(
        images, net.predict_proba(images), net.predict_proba(digits.X_test), net.score(digits.X_test, digits.y_test)
    )


@dataclass(frozen=True, eq=False)
class Training:
    """A trained network with its inputs, losses and accuracy.

    Attributes
    ----------
    net : MLP
    X : ndarray, shape (n, 2)
    loss : ndarray, shape (epochs,)
    score : float
        Accuracy on the rows after training.
    """

    net: MLP
    X: Array
    loss: Array
    score: float

    def __repr__(self) -> str:
        epochs = counted(len(self.loss), "epoch")
        return f"<Training: {epochs}, loss {self.loss[0]:.3g} -> {self.loss[-1]:.3g}, accuracy {self.score:.3f}>"


@dataclass(frozen=True, eq=False)
class Normalisation:
    """The same problem with unscaled inputs, and with each input scaled to 0-1.

    Attributes
    ----------
    X : ndarray, shape (n, 2)
        Unscaled inputs: the first feature is from 0 to 1, the second from 0 to 1000.
    y : ndarray of 0 and 1, shape (n,)
    raw, scaled : Training
    """

    X: Array
    y: Array
    raw: Training
    scaled: Training

    def __repr__(self) -> str:
        return f"<Normalisation: {counted(len(self.X), 'row')}, raw {self.raw}, scaled {self.scaled}>"


def normalisation(*, n: int = 200, epochs: int = 200, seed: int = 0, backend: str = "auto") -> Normalisation:
    """Train a neuron on two features of very different size, unscaled and scaled to 0-1.

    Parameters
    ----------
    n : int
        Number of rows.
    epochs : int
    seed : int
    backend : str

    Returns
    -------
    Normalisation

    Examples
    --------
    >>> result = normalisation()
    >>> result.raw.score < 0.7, result.scaled.score > 0.97
    (True, True)
    """
    uniform = np.random.default_rng(seed).uniform(0, 1, (require_count("n", n), 2))
    X, y = uniform * [1.0, 1000.0], (uniform.sum(axis=1) > 1).astype(np.int64)
    scaling = data.Preprocessing.fit(X, scale="minmax")

    def train(inputs: Array) -> Training:
        net = MLP([2, 1], loss="binary_cross_entropy", init="zeros", seed=seed, dtype="float64", backend=backend)
        history = net.fit(inputs, y, epochs=epochs, batch_size=min(10, n), optimizer=SGD(0.5))
        return Training(net, inputs, np.array(history.loss), net.score(inputs, y))

    return Normalisation(X, y, train(X), train(scaling.transform(X)))
