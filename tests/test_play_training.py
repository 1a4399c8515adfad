"""Training in the page, in Node and in Chromium: the steps of `fit`, with every setting of the optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import page_scripts
import pytest
from page_scripts import Engine

import mlp
from backends import formulas
from mlp import schedules
from mlp.inspection.play.contents import contents
from mlp.inspection.play.scalar_functions import scalar_function
from mlp.training.class_weights import weights_of_classes


@pytest.fixture(scope="module", params=["node", "chromium"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with page_scripts.engine(request.param, tmp_path_factory.mktemp("page")) as made:
        yield made


OPTIMIZERS = {
    "sgd": mlp.SGD(0.1),
    "momentum": mlp.SGD(0.03, momentum=0.9),
    "nesterov": mlp.SGD(0.03, momentum=0.8, nesterov=True),
    "adam": mlp.Adam(0.01),
    "rmsprop": mlp.RMSprop(0.005),
    "adagrad": mlp.Adagrad(0.05),
    "momentum, rate inside": mlp.SGD(schedules.Exponential(0.03, factor=0.9), momentum=0.9, rate_inside=True),
    "nesterov, rate inside": mlp.SGD(
        schedules.InverseScaling(0.05, power=0.3), momentum=0.8, nesterov=True, rate_inside=True
    ),
    "epsilon hat": mlp.Adam(0.01, epsilon=1e-3, epsilon_hat=True),
    "step": mlp.SGD(schedules.Step(0.1, every=3, factor=0.5)),
    "cosine": mlp.Adam(schedules.Cosine(0.02, epochs=12, warmup=2, floor=1e-3)),
    "coslog4": mlp.Adam(schedules.CosLog4(0.02, epochs=20)),
    "plateau": mlp.SGD(schedules.ReduceOnPlateau(0.5, factor=0.5, patience=2, min_delta=0.02, floor=0.01)),
    "decay": mlp.AdamW(schedules.Cosine(0.02, epochs=30), weight_decay=0.05),
    "by value": mlp.SGD(0.3, momentum=0.5, clip_value=0.01),
    "by norm": mlp.SGD(0.3, clip_norm=0.05),
    "by both": mlp.Adam(0.01, clip_value=0.02, clip_norm=0.03, weight_decay=0.1),
    "factors": mlp.Adam(0.02, weight_rate_factor=(1.0, 0.5, 0.0), bias_rate_factor=0.1, weight_decay=0.1),
}
NETWORKS: dict[str, dict[str, Any]] = {
    "softmax": {"sizes": [3, 9, 5, 3], "activation": ["tanh", "gelu"], "seed": 2**64 - 1},
    "dropout and penalties": {
        "sizes": [3, 9, 17, 3], "activation": "silu", "dropout": [0.3, 0.1], "input_dropout": 0.2, "l2": 1e-3,
        "l1": 5e-4,
    },
    "sigmoid": {"sizes": [3, 6, 1], "activation": "tanh", "loss": "binary_cross_entropy"},
    "two numbers": {
        "sizes": [3, 6, 2], "loss": "huber", "activation": "mish", "target_scaling": ([1.0, 2.0], [3.0, 0.5]),
    },
    "quantiles": {"sizes": [3, 6, 3], "activation": "tanh", "loss": "quantile", "quantile": [0.1, 0.5, 0.9]},
    "one quantile": {"sizes": [3, 6, 2], "activation": "tanh", "loss": "quantile", "quantile": 0.3},
    "Nielsen": {"sizes": [3, 6, 3], "activation": "sigmoid", "output_activation": "sigmoid", "loss": "quadratic"},
    "counts": {"sizes": [3, 6, 2], "activation": "softplus", "loss": "poisson"},
    "softmax without fusion": {"sizes": [3, 6, 3], "activation": "elu", "output_activation": "softmax", "loss": "mse"},
}  # fmt: skip

TRAIN = """
    result = data.map((data) => {
      const model = new Model(data);
      const X = model.rows.map((row) => row.x);
      const targets = model.rows.map((row) => model.targetRow(row.target));
      const { rules, rule, schedule, ...more } = data.training;
      const constant = { name: "constant", settings: { learning_rate: rules[rule].rate } };
      const { hyper } = rules[rule];
      const settings = { ...more, rule, hyper, schedule: schedule ?? constant, seed: model.seed };
      const weights = model.rows.map((row) => data.training.classWeights?.[model.classOf(row.target)] ?? 1);
      const training = new Training(model.network, X, targets, settings, weights);
      training.next();
      const one = model.network.parameters.slice();
      while (training.step < 100) training.next();
      return { one, all: model.network.parameters, losses: training.losses };
    });
"""


def targets_of(name: str, n: int) -> Any:
    rng = np.random.default_rng(1)
    if name == "quantiles":
        return rng.normal(size=n)
    if name in ("two numbers", "counts", "one quantile"):
        return rng.poisson(2, (n, 2)).astype(float)
    if name in ("Nielsen", "softmax without fusion"):
        return np.eye(3)[rng.integers(0, 3, n)]
    return rng.integers(0, 2 if name == "sigmoid" else 3, n)


UNEQUAL = {0: 0.3, 1: 2.0}
CASES: list[tuple[str, str, dict[str, Any]]] = [
    *(("softmax", rule, {}) for rule in OPTIMIZERS),
    *((name, "adam", {}) for name in NETWORKS),
    ("softmax", "sgd", {"shuffle": False}),
    ("dropout and penalties", "by both", {}),
    *((name, "sgd", {"label_smoothing": 0.2}) for name in ("softmax", "sigmoid")),
    ("softmax", "adam", {"class_weight": UNEQUAL}),
    ("sigmoid", "plateau", {"class_weight": UNEQUAL}),
    ("softmax", "sgd", {"class_weight": {0: 1.0, 1: 0.0, 2: 0.0}, "label_smoothing": 0.1}),
]
"""Network, optimizer, and further arguments of `fit`."""


@pytest.fixture(scope="module")
def trained() -> list[tuple[Any, Any, Any]]:
    """What `fit` makes of the cases: the parameters after the first step, after 100, and the loss of each epoch."""
    X, made = np.random.default_rng(0).normal(size=(50, 3)), []
    for name, rule, settings in CASES:
        net = mlp.MLP(**NETWORKS[name], dtype="float64", backend="numpy")
        first, optimizer = FirstBatch(), OPTIMIZERS[rule]
        history = net.fit(
            X, targets_of(name, 50), epochs=25, batch_size=16, optimizer=optimizer, callbacks=[first], **settings
        )
        made.append((first.parameters, net.parameters, history.loss))
    return made


def test_training_makes_the_steps_of_fit(engine: Engine, trained: list[tuple[Any, Any, Any]]) -> None:
    X, tasks = np.random.default_rng(0).normal(size=(50, 3)), []
    for name, rule, settings in CASES:
        net, targets, chosen = mlp.MLP(**NETWORKS[name], dtype="float64"), targets_of(name, 50), settings.copy()
        if "class_weight" in settings:
            chosen["class_weights"] = weights_of_classes(net, targets, chosen.pop("class_weight"))
        tasks.append(contents(net, X, targets, optimizer=OPTIMIZERS[rule], batch_size=16, **chosen))
    for case, (first, last, losses), found in zip(CASES, trained, engine(TRAIN, tasks), strict=True):
        np.testing.assert_allclose(found["one"], first, rtol=1e-9, atol=1e-9, err_msg=str(case))
        np.testing.assert_allclose(found["all"], last, rtol=1e-6, atol=1e-6, err_msg=str(case))
        np.testing.assert_allclose(found["losses"], losses, rtol=1e-6, err_msg=str(case))


def test_the_cases_differ(trained: list[tuple[Any, Any, Any]]) -> None:
    """Each setting leads to other weights, so that the comparison notices one that is left out."""
    of_softmax = [(case, last) for case, (_, last, _) in zip(CASES, trained, strict=True) if case[0] == "softmax"]
    same = [("softmax", "adam", {})]  # twice among the cases
    for i, (case, one) in enumerate(of_softmax):
        for other, two in of_softmax[:i]:
            assert case == other in same or np.abs(one - two).max() > 1e-4, (case, other)


class FirstBatch(mlp.Callback):
    """Keeps the parameters after the first batch."""

    parameters: Any = None

    def on_batch_end(self, run: Any, batch: int, loss: float) -> None:
        if self.parameters is None:
            self.parameters = run.net.parameters.copy()


def test_a_training_of_images_makes_the_steps_of_fit(engine: Engine) -> None:
    """Rows of bytes, which the page scales; more rows than a part of the shuffling has."""
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (2100, 16)).astype(np.uint8), rng.integers(0, 3, 2100)
    net = mlp.MLP([16, 9, 3], input_scale=1 / 255, dtype="float64", backend="numpy", dropout=0.2)
    data = contents(net, X, y, optimizer=mlp.Adam(0.01), batch_size=64)
    assert (data["kind"], data["training"]["offered"]) == ("image", True)
    [found] = engine(TRAIN, [data])
    first = FirstBatch()
    history = net.fit(X, y, epochs=3, batch_size=64, optimizer=mlp.Adam(0.01), callbacks=[first])
    np.testing.assert_allclose(found["one"], first.parameters, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found["losses"], history.loss, rtol=1e-6)  # 99 steps


def test_a_step_is_made_in_small_parts(engine: Engine) -> None:
    """No part of a step, its shuffling and its update has more than a row, 500 blocks or 20,000 parameters."""
    X = np.random.default_rng(0).normal(size=(5000, 3))
    net = mlp.MLP([3, 9000, 2], init="zeros", dtype="float64", backend="numpy")
    data = contents(net, X, np.arange(5000) % 2, optimizer=mlp.SGD(0.1), batch_size=7)
    found = engine(
        """
        const model = new Model(data);
        const X = model.rows.map((row) => row.x);
        const targets = model.rows.map((row) => model.targetRow(row.target));
        const schedule = { name: "constant", settings: { learning_rate: 0.1 } };
        const settings = { rule: "sgd", hyper: {}, schedule, batchSize: 7, shuffle: true, seed: 0n };
        const training = new Training(model.network, X, targets, settings);
        const count = () => Array.from(training.parts()).length;
        result = [count(), count()];
        """,
        data,
    )
    weights, biases = math.ceil(9000 * 5 / 20000), math.ceil(9002 / 20000)
    assert found == [math.ceil(5000 / 4 / 500) + 7 + weights + biases, 7 + weights + biases]


# -- functions of a few numbers ---------------------------------------------------------------------------------


def test_rates_are_those_of_python(engine: Engine) -> None:
    made = [
        schedules.Constant(0.3),
        schedules.Step(0.3, every=0.1, factor=0.7),  # 1.0 // 0.1 is 9 in Python
        schedules.Step(0.3, every=3),
        schedules.Exponential(0.3),
        schedules.InverseScaling(0.3),
        schedules.Cosine(0.3, epochs=4, warmup=1.5, floor=0.01),
        schedules.CosLog4(0.3, epochs=4),
        schedules.ReduceOnPlateau(0.3, patience=2, floor=0.005),
    ]
    assert {type(one) for one in made} == set(schedules.SCHEDULES.values())
    losses = [3.0, 2.0, 2.0, 1.99995, 1.0, 1.0, 1.0, 1.0]
    names = {cls: name for name, cls in schedules.SCHEDULES.items()}
    values = [
        {name: value for name, value in vars(one).items() if math.isfinite(value)} | {"name": names[type(one)]}
        for one in made
    ]
    found = engine(
        """
        result = data.made.map(({ name, ...values }) => {
          const { rate, observe } = FORMULAS.schedules[name];
          const self = { best: Infinity, ...values };
          return data.losses.flatMap((loss, epoch) => {
            const rates = Array.from({ length: 10 }, (_, k) => rate(self, 10 * epoch + k, epoch + k / 10));
            observe?.(self, loss);
            return rates;
          });
        });
        """,
        {"made": values, "losses": losses},
    )
    for schedule, rates in zip(made, found, strict=True):
        expected: list[float] = []
        for epoch, loss in enumerate(losses):
            expected += schedule.rates(10 * epoch, epoch, 10).tolist()
            schedule.observe(loss)
        np.testing.assert_allclose(rates, expected, rtol=1e-14, err_msg=repr(schedule))


def test_scalars_of_the_update_rules_are_those_of_python(engine: Engine) -> None:
    hyper = {"momentum": 0.9, "epsilon": 1e-8, "rho": 0.99, "beta1": 0.9, "beta2": 0.999}
    names = {
        "momentum": ["momentum"], "rms": ["rho", "epsilon"], "adag": ["epsilon"], "adam": ["beta1", "beta2", "epsilon"],
        "nest": ["momentum"],
    }  # fmt: skip
    cases = []
    for name in formulas.RULES:
        chosen = next((value for start, value in names.items() if name.startswith(start)), [])
        cases += [[name, {key: hyper[key] for key in chosen}, step] for step in (1, 2, 1000)]
    found = engine("result = data.map(([name, hyper, step]) => FORMULAS.rules[name].scalars(step, 0.1, hyper));", cases)
    for (name, chosen, step), values in zip(cases, found, strict=True):
        np.testing.assert_allclose(values, formulas.Rule(name, chosen).scalars(step, 0.1), rtol=1e-13, err_msg=name)


def test_what_has_no_translation_is_named() -> None:
    def looping(step: int) -> float:
        while step:
            step -= 1
        return 0.0

    with pytest.raises(formulas.TranslationError, match=r"'while step:.* has no translation into JavaScript"):
        scalar_function(looping, "looping")
    with pytest.raises(formulas.TranslationError, match=r"'abs\(step\)' has no translation"):
        scalar_function(_absolute, "absolute")
    without_source: dict[str, Any] = {}
    exec("def one(step): return 1.0", without_source)
    with pytest.raises(formulas.TranslationError, match="the source of one is not available"):
        scalar_function(without_source["one"], "one")


def _absolute(step: int) -> int:
    return abs(step)


# -- what a page begins with ------------------------------------------------------------------------------------


def test_a_page_begins_with_the_last_optimizer() -> None:
    net = mlp.MLP([2, 3, 2])
    optimizer = mlp.SGD(
        schedules.ReduceOnPlateau(0.2, patience=3), momentum=0.8, rate_inside=True, weight_decay=0.1, clip_value=2.0
    )
    assert isinstance(optimizer.learning_rate, schedules.ReduceOnPlateau)
    for loss in (1.0, 2.0, 2.0, 2.0):
        optimizer.learning_rate.observe(loss)
    training = contents(net, optimizer=optimizer)["training"]
    assert training["rule"] == "momentum_rate_inside"
    assert training["rules"]["momentum_rate_inside"]["rate"] == 0.2
    assert training["schedule"]["label"] == "reduce_on_plateau (factor=0.1, patience=3, min_delta=0.0001, floor=0)"
    settings = training["schedule"]["settings"]  # as at the beginning
    assert (settings["current"], settings["best"], settings["waited"]) == (0.2, "Infinity", 0)
    assert (training["weightDecay"], training["clipValue"], training["clipNorm"]) == (0.1, 2.0, None)
    assert training["notes"] == ["The schedule of the learning rate begins again, as with fit."]
    assert set(contents(net)["training"]["rules"]) == {"sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam"}


def test_a_network_with_a_scaling_layer_keeps_its_page() -> None:
    net = mlp.MLP([2, 3, 2], scaling_layer=True)
    training = contents(net, optimizer=mlp.Adam(scaling_rate_factor=6.0))["training"]
    assert not training["offered"]


def test_a_schedule_that_the_page_does_not_know_is_named() -> None:
    class Mine(schedules.Schedule):
        def __call__(self, step: int, epoch: float) -> float:
            return self.learning_rate / (1 + step)

    training = contents(mlp.MLP([2, 3, 2]), optimizer=mlp.SGD(Mine(0.5)))["training"]
    assert training["schedule"] is None
    assert training["rules"]["sgd"]["rate"] == 0.5
    assert training["notes"] == [
        "The learning rate followed Mine, a schedule that the page does not know; here it is constant."
    ]


def test_the_part_of_the_rows_that_a_page_trains_on_is_known() -> None:
    net, X = mlp.MLP([2, 3, 2]), np.zeros((4, 2))
    assert contents(net, X, [0, 1, 0, 1], trained_rows=5)["training"]["trainedRows"] == 5
    assert contents(net, X, [0, 1, 0, 1], trained_rows=4)["training"]["trainedRows"] is None
    assert contents(net, X, [0, 1, 0, 1])["training"]["trainedRows"] is None
    assert contents(net, trained_rows=5)["training"]["trainedRows"] is None
