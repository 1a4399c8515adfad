"""Accuracy after training: networks with fixed seeds reach the known accuracy of plain multilayer perceptrons."""

from __future__ import annotations

import mlp


def test_digits_reach_97_percent(backend):
    digits = mlp.data.load("digits")
    net = mlp.MLP([64, 64, 10], input_scale=digits.input_scale, seed=0, backend=backend)
    net.fit(digits.X, digits.y, epochs=30, batch_size=32, optimizer=mlp.Adam(0.003))
    assert net.score(digits.X_test, digits.y_test) >= 0.97


def test_nielsens_network_reaches_94_percent_of_mnist_in_ten_epochs(mnist_folder):
    """784-30-10 with sigmoids and the quadratic cost ("Neural Networks and Deep Learning", chapter 1).

    Initial weights from N(0, 1) saturate some units; with some seeds these never recover.
    """
    mnist = mlp.data.load("mnist", data_dir=mnist_folder)
    net = mlp.MLP(
        [784, 30, 10],
        activation="sigmoid",
        output_activation="sigmoid",
        loss="quadratic",
        init="normal",
        input_scale=mnist.input_scale,
        seed=2,
    )
    net.fit(mnist.X, mnist.y, epochs=10, batch_size=10, optimizer=mlp.SGD(3.0))
    assert net.score(mnist.X_test, mnist.y_test) >= 0.94
