"""Experiments of the notes: lines bent onto a sine, a network that is sure of noise, and inputs that are not scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp import data
from mlp._backends import ConfigurationError
from mlp.model import MLP
from mlp.optimizers import SGD, Adam
from mlp.schedules import Cosine
from mlp.validation import require_count

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class SineFits:
    """What networks make of a sine wave.

    Attributes
    ----------
    x, y : ndarray, shape (n,)
        The wave, from -π to π.
    fits : dict of str to ndarray, shape (n,)
        Outputs by the network's name: ``"linear"``, ``"1 neuron"``, ``"8 neurons"``.
    losses : dict of str to float
        Mean squared errors.
    """

    x: Array
    y: Array
    fits: dict[str, Array]
    losses: dict[str, float]


def sine_fits(
    neurons: Sequence[int] = (1, 2, 8, 64), *, n: int = 200, epochs: int = 200, seed: int = 2, backend: str = "auto"
) -> SineFits:
    """Bend a line onto a sine wave: each ReLU neuron of one hidden layer adds a kink, and a linear network has none.

    Parameters
    ----------
    neurons : sequence of int
        Width of each network's hidden layer; a linear network of the greatest width goes first.
    n : int
        Number of points.
    epochs : int
    seed : int
        With some seeds a neuron is silent at every point, and a narrow network has nothing left to learn with.
    backend : str

    Returns
    -------
    SineFits

    Examples
    --------
    The best line leaves an error of about 1/2 - 3/π² = 0.196; more neurons come nearer:

    >>> for name, loss in sine_fits().losses.items():
    ...     print(f"{name}: {loss:.3f}")
    linear: 0.200
    1 neuron: 0.163
    2 neurons: 0.035
    8 neurons: 0.002
    64 neurons: 0.000
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
    """What a network of digits answers to random noise, and to digits it has not seen.

    Attributes
    ----------
    images : ndarray, shape (n, 64)
        The noise, 0 to 16 like the digits.
    probabilities, test_probabilities : ndarray, shapes (n, 10) and (m, 10)
        Of each class, for the noise and for the digits of the test part.
    test_score : float
        Share of those digits that are answered rightly.
    """

    images: Array
    probabilities: Array
    test_probabilities: Array
    test_score: float

    @property
    def confidence(self) -> Array:
        """The largest probability of each image of noise, shape (n,)."""
        largest: Array = self.probabilities.max(axis=1)
        return largest

    @property
    def test_confidence(self) -> Array:
        """The largest probability of each digit, shape (m,)."""
        largest: Array = self.test_probabilities.max(axis=1)
        return largest


def confidence_on_noise(net: MLP | None = None, *, n: int = 1000, seed: int = 0, backend: str = "auto") -> NoiseAnswers:
    """Show random noise to a network trained on digits: it has no way to say "none of these".

    Parameters
    ----------
    net : MLP, optional
        Of 64 inputs and 10 classes, trained on ``mlp.data.load("digits")``; by default one is trained here.
    n : int
        Images of noise, each pixel drawn evenly from 0 to 16.
    seed : int
        Of the noise, and of the network that is trained here.
    backend : str
        Of that network.

    Returns
    -------
    NoiseAnswers

    Examples
    --------
    >>> answers = confidence_on_noise()
    >>> print(f"{answers.test_score:.1%} of the digits are answered rightly")
    98.6% of the digits are answered rightly
    >>> print(f"{np.mean(answers.confidence > 0.9):.0%} of the noise is one digit or another for more than 90 % sure")
    55% of the noise is one digit or another for more than 90 % sure
    >>> print(answers.probabilities[3].round(2))
    [0. 1. 0. 0. 0. 0. 0. 0. 0. 0.]
    """
    if net is not None and (net.sizes[0], net.sizes[-1]) != (64, 10):
        raise ConfigurationError(f"the digits have 64 inputs and 10 classes, and this network has sizes {net.sizes}.")
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
    """A network, what it was trained on, and how that went.

    Attributes
    ----------
    net : MLP
    X : ndarray, shape (n, 2)
    loss : ndarray, shape (epochs,)
    score : float
        Share of the rows that are answered rightly in the end.
    """

    net: MLP
    X: Array
    loss: Array
    score: float


@dataclass(frozen=True, eq=False)
class Normalisation:
    """The same problem with the inputs as they come, and with each scaled to 0-1.

    Attributes
    ----------
    X : ndarray, shape (n, 2)
        As they come: one feature within 1 of 0, the other up to 1000.
    y : ndarray of 0 and 1, shape (n,)
    raw, scaled : Training
    """

    X: Array
    y: Array
    raw: Training
    scaled: Training


def normalisation(*, n: int = 200, epochs: int = 200, seed: int = 0, backend: str = "auto") -> Normalisation:
    """Train a neuron on two features of very different size, as they come and scaled to 0-1.

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
    share = np.random.default_rng(seed).uniform(0, 1, (require_count("n", n), 2))
    X, y = share * [1.0, 1000.0], (share.sum(axis=1) > 1).astype(np.int64)
    scaling = data.Preprocessing.fit(X, scale="minmax")

    def trained(inputs: Array) -> Training:
        net = MLP([2, 1], loss="binary_cross_entropy", init="zeros", seed=seed, dtype="float64", backend=backend)
        history = net.fit(inputs, y, epochs=epochs, batch_size=min(10, n), optimizer=SGD(0.5))
        return Training(net, inputs, np.array(history.loss), net.score(inputs, y))

    return Normalisation(X, y, trained(X), trained(scaling.transform(X)))
