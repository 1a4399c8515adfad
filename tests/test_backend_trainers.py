"""Trainers: several epochs on the same buffers, parts of epochs and of batches, and additional fields of the plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import readable_loop
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from test_same_results import RULES, Case, assert_close, cases

import backends
from backends import backpropagation, formulas, loop, random
from backends.errors import ConfigurationError, DtypeError, ShapeError
from backends.plan import Control, EpochPlan, Layout, NetworkPlan
from backends.row_orders import Shuffle

SGD, MOMENTUM, ADAM = RULES[0], RULES[1], RULES[7]


def make(
    sizes=(6, 9, 4), hidden="tanh", kind="softmax+cross_entropy", rule=MOMENTUM, *, n=50, batch_size=8, dropout=0.0,
    weighted=False, scaling_layer=False, seed=0, **options,
):  # fmt: skip
    rng = np.random.default_rng(seed)
    layout, kind = Layout(tuple(sizes), scaling_layer), formulas.output_loss(kind)
    network = NetworkPlan(
        layout,
        (*[formulas.activation(hidden)] * (layout.n_layers - 1), kind.output),
        kind,
        (dropout,) * layout.n_layers,
    )
    n_batches = -(-n // batch_size)
    options = {"learning_rates": rng.uniform(0.02, 0.1, n_batches), "l2": np.full(n_batches, 0.01)} | options
    plan = EpochPlan(network, rule, batch_size, options.pop("order", rng.permutation(n)), seed=5, epoch=3, **options)
    target = rng.integers(0, sizes[-1], n) if kind.loss.name == "cross_entropy" else rng.random((n, sizes[-1]))
    params = rng.normal(size=layout.n_parameters) * 0.3
    state = np.zeros((len(rule.row.state), layout.n_parameters))
    weight = rng.uniform(0.5, 2, n) if weighted else None
    return Case(plan, rng.normal(size=(n, sizes[0])), target, weight, params, state)


class Training:
    """A trainer of a backend, with its arrays."""

    def __init__(self, xp, case, dtype="float64"):
        self.xp, plan = xp, case.plan
        X, target = (a.astype(dtype) if a.dtype.kind == "f" else a for a in (case.X, case.target))
        weight = None if case.weight is None else xp.asarray(case.weight.astype(dtype))
        self.params, self.state = (xp.asarray(a.astype(dtype)) for a in (case.params, case.state))
        self.trainer = xp.trainer(
            plan.network, plan.rule, xp.asarray(X), xp.asarray(target), weight, self.params, self.state, plan.batch_size
        )

    def epochs(self, *plans, control=None, on_batch=None):
        return self.trainer.epochs(plans, control, on_batch)

    def arrays(self):
        self.trainer.read_back()
        return self.current_arrays()

    def current_arrays(self):
        return self.xp.to_numpy(self.params).copy(), self.xp.to_numpy(self.state).copy()


def assert_bitwise_equal(actual, desired):
    for a, b in zip(actual, desired, strict=True):
        assert_array_equal(a, b)


def following_plans(plan, count):
    """The plans of `count` consecutive epochs, starting with `plan`."""
    n_batches = len(plan.batches)
    return [replace(plan, epoch=plan.epoch + i, first_step=plan.first_step + i * n_batches) for i in range(count)]


# -- how a plan runs ----------------------------------------------------------------------------------------


def test_a_trainer_tells_how_it_runs_a_plan_and_trains_nothing(xp):
    case = make(dropout=0.2)
    training, before = Training(xp, case), (case.params.copy(), case.state.copy())
    told = training.trainer.execution(case.plan)
    assert told.method
    assert isinstance(told.reason, str)
    if xp.device == "cpu":
        assert training.trainer.execution(case.plan, on_batch=True).method == "step by step"
    assert_bitwise_equal(training.arrays(), before)
    if xp.name == "numpy":
        assert told == loop.Execution("step by step", "")


def test_a_trainer_on_a_few_rows_answers_for_many(xp):
    few, many = make(n=50), make(n=5000)
    assert Training(xp, few).trainer.execution(many.plan) == Training(xp, many).trainer.execution(many.plan)


def test_a_plan_for_another_network_has_no_execution(xp):
    training = Training(xp, make())
    for other in (make(sizes=(6, 8, 4)), make(rule=ADAM)):
        with pytest.raises(ConfigurationError, match="make a trainer for it"):
            training.trainer.execution(other.plan)


# -- many epochs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [SGD, ADAM], ids=lambda rule: rule.name)
@pytest.mark.parametrize("scaled", [False, True], ids=["", "scaling layer"])
def test_epochs_of_one_trainer_are_single_epochs(xp, rule, dtype, scaled):
    factors = ((0, 54, 0.5), (103, 109, 6.0)) if scaled else ()  # of the first weights, and of the scaling layer
    case = make(rule=rule, dropout=0.2, weighted=True, scaling_layer=scaled, rate_factors=factors)
    training, plans = Training(xp, case, dtype), following_plans(case.plan, 3)
    results = training.epochs(*plans[:2]) + training.epochs(plans[2])
    for plan, result in zip(plans, results, strict=True):
        losses, params, state = replace(case, plan=plan).run(xp, dtype)
        assert_array_equal(result.losses, losses)
        case = replace(case, params=params, state=state)
    assert_bitwise_equal(training.arrays(), (case.params, case.state))


def test_roll_back_undoes_what_was_not_read_back(xp):
    case = make(rule=ADAM)
    training, plans = Training(xp, case), following_plans(case.plan, 3)
    training.epochs(plans[0])
    kept = training.arrays()
    training.epochs(plans[1])
    training.epochs(plans[2], on_batch=lambda *_: None)  # with the loop, which trains in place
    training.trainer.roll_back()
    assert_bitwise_equal(training.current_arrays(), kept)
    training.epochs(plans[1])
    again = Training(xp, replace(case, params=kept[0], state=kept[1]))
    again.epochs(plans[1])
    assert_bitwise_equal(training.arrays(), again.arrays())


@pytest.mark.parametrize("scaling_layer", [False, True], ids=["", "scaling layer"])
def test_the_current_values_are_copies_within_an_epoch_too(xp, dtype, scaling_layer):
    """Reading them changes neither the training nor what is restored."""
    case = make(rule=ADAM, weighted=True, scaling_layer=scaling_layer)
    training = Training(xp, case, dtype)
    before = training.current_arrays()
    n_batches = len(case.plan.batches)
    for first in range(0, n_batches, 2):
        part = replace(case.plan, first_batch=first, n_batches=min(2, n_batches - first))
        training.epochs(part)
        expected = Training(xp, case, dtype)
        expected.epochs(replace(case.plan, n_batches=min(first + 2, n_batches)))
        copies = training.trainer.current()
        assert_bitwise_equal(copies, expected.arrays())
        for copy in copies:
            assert isinstance(copy, np.ndarray)
            copy[...] = np.nan
    again = training.trainer.current(copies)
    assert all(a is b for a, b in zip(again, copies, strict=True)), "the arrays are used again"
    assert_bitwise_equal(again, expected.arrays())
    assert training.trainer.current((copies[0][:-1], copies[1]))[0].shape == copies[0].shape
    training.trainer.roll_back()
    assert_bitwise_equal(training.arrays(), before)
    training.epochs(case.plan)
    assert_bitwise_equal(training.arrays(), expected.arrays())
    assert_bitwise_equal(training.trainer.current(), expected.arrays())


def test_epochs_with_and_without_a_report_of_each_batch_follow_each_other(xp):
    """Numba changes between the kernel and the loop, without a `read_back` in between."""
    case = make(rule=ADAM, scaling_layer=True)
    plans = following_plans(case.plan, 4)
    training = Training(xp, case)
    for i, plan in enumerate(plans):
        training.epochs(plan, on_batch=(lambda *_: None) if i % 2 else None)
    expected = Training(xp, case)
    expected.epochs(*plans)
    for mine, its in zip(training.arrays(), expected.arrays(), strict=True):
        assert_close(mine, its, 1e-12)


def test_refresh_takes_over_what_the_caller_changed(xp):
    case = make()
    training, (first, second) = Training(xp, case), following_plans(case.plan, 2)
    training.epochs(first)
    params, state = training.arrays()
    training.params[...] *= 2
    training.trainer.refresh()
    training.epochs(second)
    fresh = Training(xp, replace(case, params=2 * params, state=state))
    fresh.epochs(second)
    assert_bitwise_equal(training.arrays(), fresh.arrays())


def test_a_change_of_clipping_between_epochs(xp):
    """Numba uses another layout for its panels if it has to store the complete gradient."""
    case = make()
    first, second, third = following_plans(case.plan, 3)
    plans = first, replace(second, clip_norm=0.1), third
    training = Training(xp, case)
    training.epochs(*plans)
    for plan in plans:
        _, params, state = replace(case, plan=plan).run(xp)
        case = replace(case, params=params, state=state)
    assert_bitwise_equal(training.arrays(), (case.params, case.state))


def test_a_change_of_rates_between_epochs(xp):
    """Numba runs all of them in its kernel, except the slice that is a part of a layer's weights."""
    case = make(rule=ADAM, scaling_layer=True, weight_decay=0.1)
    of_arrays = ((0, 54, 0.5), (90, 103, 0.1), (103, 109, 6.0))
    choices = [(), of_arrays, ((0, 54, 2.0), *of_arrays[1:]), ((0, 5, 3.0),), ((54, 99, 0.3),), of_arrays[2:], ()]
    plans = [
        replace(plan, rate_factors=factors)
        for plan, factors in zip(following_plans(case.plan, len(choices)), choices, strict=True)
    ]
    training = Training(xp, case)
    training.epochs(*plans)
    for plan in plans:
        _, params, state = replace(case, plan=plan).run(xp)
        case = replace(case, params=params, state=state)
    assert_bitwise_equal(training.arrays(), (case.params, case.state))
    # the factors train in Adam's first step by the largest rate
    ratio = 6.0 / 0.5
    first = make(rule=ADAM, scaling_layer=True, n=8, rate_factors=of_arrays, l2=np.zeros(1))
    change = np.abs(first.run(xp)[1] - first.params)
    assert_allclose(change[103:].min() / change[:54].max(), ratio, rtol=1e-3)


def test_epochs_end_with_the_one_that_fails(xp):
    case = make(learning_rates=np.full(7, 1e200), rule=SGD)
    training = Training(xp, case)
    results = training.epochs(*following_plans(case.plan, 3))
    assert len(results) == 1
    assert results[0].failed is not None
    assert not results[0].finite or not np.isfinite(results[0].losses[-1])


def test_parameters_that_are_not_finite_are_reported(xp):
    # the update of the last batch fails, which no loss reveals
    case = make(n=8, learning_rates=np.array([np.inf]), rule=SGD)
    (result,) = Training(xp, case).epochs(case.plan)
    assert result.failed is None
    assert not result.finite


def test_a_request_to_stop_ends_the_epochs(xp):
    case, control = make(), Control()
    control.request_stop()
    (result,) = Training(xp, case).epochs(*following_plans(case.plan, 2), control=control)
    assert len(result.losses) == 0


@pytest.mark.parametrize("weighted", [False, True])
def test_batches_report_their_weights(xp, weighted):
    case = make(weighted=weighted)
    (result,) = Training(xp, case).epochs(case.plan)
    weight = np.ones(50) if case.weight is None else case.weight
    expected = [weight[case.plan.order[i : i + 8]].sum() for i in range(0, 50, 8)]
    assert_allclose(result.weights, expected, rtol=1e-14)


@pytest.mark.parametrize("stopped", [False, True])
def test_an_epoch_of_no_batches_reports_what_is_finite(xp, stopped):
    case, control = make(), Control()
    case.params[3] = np.nan
    if stopped:
        control.request_stop()
    (result,) = Training(xp, case).epochs(replace(case.plan, n_batches=0), control=control)
    assert not result.finite


# -- what a trainer refuses ---------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["rule", "network"])
def test_plans_are_those_of_the_trainer(xp, change):
    case, other = make(rule=SGD), make(rule=ADAM, sizes=(6, 40, 4))
    with pytest.raises(ConfigurationError, match=f"for another {change}"):
        Training(xp, case).epochs(replace(case.plan, **{change: getattr(other.plan, change)}))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"learning_rates": np.full(1, 0.05)}, ConfigurationError, "learning_rates has shape"),
        ({"l2": np.zeros(8)}, ConfigurationError, "l2 has shape"),
        ({"batch_weight": np.ones(1)}, ConfigurationError, "batch_weight has shape"),
        ({"order": np.arange(50) + 0.5}, ConfigurationError, "row numbers"),
        ({"order": np.ones(50, bool)}, ConfigurationError, "row numbers"),
        ({"order": list(range(50))}, ConfigurationError, "not list"),
        ({"order": np.arange(50)[:, None]}, ConfigurationError, "1-d"),
        ({"batch_size": 0}, ConfigurationError, "1 or more"),
        ({"row_offset": -1}, ConfigurationError, "row_offset=-1"),
        ({"batches_before": -1}, ConfigurationError, "batches_before=-1"),
        ({"epoch": -1}, ConfigurationError, "epoch=-1"),
        ({"seed": 2**64}, ConfigurationError, "seed"),
    ],
)
def test_plans_are_checked(change, error, text):
    with pytest.raises(error, match=text):
        replace(make().plan, **change)


@pytest.mark.parametrize("rows", [[0, 57], [-1, 3]])
def test_orders_have_rows_of_X(xp, rows):
    case = make()
    plan = replace(case.plan, order=np.array(rows), learning_rates=np.ones(1), l2=np.zeros(1))
    with pytest.raises(ShapeError, match="and X has 50 rows"):
        Training(xp, case).epochs(plan)
    with pytest.raises(ShapeError, match="row 59"):
        Training(xp, case).epochs(replace(plan, order=Shuffle(0, 0, 60), learning_rates=np.ones(8), l2=np.zeros(8)))


def test_arrays_are_checked_at_the_start_and_at_each_refresh(xp):
    case = make()
    trainer = Training(xp, case).trainer
    trainer.epochs([case.plan])
    trainer.read_back()
    trainer.target = trainer.target[:1]
    with pytest.raises(ShapeError, match="must have 50 rows"):
        trainer.refresh()
    with pytest.raises(ShapeError, match="one column for each input"):
        Training(xp, replace(case, X=case.X[:, :5]))
    with pytest.raises(ShapeError, match="for this network and the rule"):
        Training(xp, replace(case, params=np.zeros(200)))


def test_refresh_follows_arrays_that_were_replaced(xp):
    case = make()
    training, (first, second) = Training(xp, case), following_plans(case.plan, 2)
    training.epochs(first)
    params, state = training.arrays()
    training.params = training.trainer.params = xp.asarray(2 * params)
    training.state = training.trainer.state = xp.asarray(state.copy())
    training.trainer.refresh()
    training.epochs(second)
    fresh = Training(xp, replace(case, params=2 * params, state=state))
    fresh.epochs(second)
    assert_bitwise_equal(training.arrays(), fresh.arrays())


def test_a_control_has_two_words():
    with pytest.raises(ConfigurationError, match="shape"):
        Control(np.zeros(1, np.int64))


# -- the order of the rows ----------------------------------------------------------------------------------


def test_an_order_by_its_integers_is_that_of_the_host(xp):
    order = random.permutation(5, 3, 50)
    by_rows = make(order=order, dropout=0.3)
    by_integers = replace(by_rows, plan=replace(by_rows.plan, order=Shuffle(5, 3, 50)))
    assert_bitwise_equal(by_integers.run(xp), by_rows.run(xp))


# -- parts of an epoch --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [SGD, ADAM], ids=lambda rule: rule.name)
@pytest.mark.parametrize("order", ["rows", "integers"])
def test_parts_of_an_epoch_are_the_epoch(xp, rule, order):
    case = make(rule=rule, dropout=0.3, weighted=True)
    if order == "integers":
        case = replace(case, plan=replace(case.plan, order=Shuffle(1, 2, 50)))
    training, control = Training(xp, case), Control()
    parts = [replace(case.plan, first_batch=first, n_batches=n) for first, n in ((0, 3), (3, 0), (3, 2), (5, None))]
    results = training.epochs(*parts, control=control)
    losses, params, state = case.run(xp)
    assert [len(result.losses) for result in results] == [3, 0, 2, 2]
    assert_array_equal(np.concatenate([result.losses for result in results]), losses)
    assert_bitwise_equal(training.arrays(), (params, state))
    assert control.batches_done == 7


def test_windows_of_a_stream_are_the_epoch(xp):
    """Rows in windows with separate orders; dropout counts the batches of the complete epoch."""
    case = make(n=48, dropout=0.3, rule=ADAM)
    losses, params, state = case.run(xp)
    found, memory = [], (case.params, case.state)
    for first in (0, 2, 4):
        rows = case.plan.order[first * 8 : (first + 2) * 8]
        window = replace(
            case.plan,
            order=np.arange(16),
            learning_rates=case.plan.learning_rates[first : first + 2],
            l2=case.plan.l2[first : first + 2],
            first_step=first,
            batches_before=first,
        )
        part = Case(window, case.X[rows], case.target[rows], None, *memory)
        result, *memory = part.run(xp)
        found.append(result)
    assert_array_equal(np.concatenate(found), losses)
    assert_bitwise_equal(memory, (params, state))


def test_a_last_window_shorter_than_a_batch_has_the_epochs_bits(xp):
    case = make(sizes=(784, 16, 10), n=37, batch_size=32, rule=MOMENTUM, clip_norm=0.1)
    losses, params, state = case.run(xp)
    rows = case.plan.order[32:]
    first = replace(case, plan=replace(case.plan, n_batches=1))
    found, *memory = first.run(xp)
    window = replace(
        case.plan,
        order=np.arange(5),
        learning_rates=case.plan.learning_rates[1:],
        l2=case.plan.l2[1:],
        first_step=1,
        batches_before=1,
    )
    last, *memory = Case(window, case.X[rows], case.target[rows], None, *memory).run(xp)
    assert_array_equal([*found, *last], losses)
    assert_bitwise_equal(memory, (params, state))


def test_the_batch_that_fails_is_numbered_in_the_epoch(xp):
    rates = np.full(7, 0.05)
    rates[4] = 1e200
    case = make(learning_rates=rates, rule=SGD, hidden="relu", kind="identity+mse")
    whole = Training(xp, case).epochs(case.plan)[0].failed
    training = Training(xp, case)
    training.epochs(replace(case.plan, n_batches=3))
    (result,) = training.epochs(replace(case.plan, first_batch=3))
    assert result.failed == whole == 5


@pytest.mark.parametrize(
    "wrong", [{"first_batch": 8}, {"first_batch": -1}, {"first_batch": 5, "n_batches": 3}, {"n_batches": -1}]
)
def test_parts_lie_within_the_epoch(wrong):
    with pytest.raises(ConfigurationError, match="the 7 batches that 50 rows make"):
        make(**wrong)


# -- parts of a batch ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch", [0, 6])
def test_gradients_of_parts_add_up_to_that_of_the_batch(xp, weighted, batch):
    case = make(weighted=weighted, dropout=0.4, l1=0.01)
    training, rows = Training(xp, case), case.plan.batch_rows(batch)
    size = rows.stop - rows.start
    loss, whole = training.trainer.gradient(case.plan, batch)
    whole = xp.to_numpy(whole).copy()
    total, gradient = 0.0, np.zeros_like(whole)
    for first, last in ((0, 1), (1, 1), (1, size)):  # one part is empty
        value, part = training.trainer.gradient(case.plan, batch, first, last)
        total += value
        gradient += xp.to_numpy(part)
    assert_allclose(total, loss, rtol=1e-13)
    assert_close(gradient, whole, 1e-14)


def test_steps_of_summed_gradients_are_an_epoch(xp):
    """Data-parallel training: sum the gradients of the parts, add the penalties once, and update."""
    case = make(dropout=0.4, weighted=True, rule=ADAM, clip_norm=0.5, weight_decay=0.1, l1=0.001)
    training, losses = Training(xp, case), []
    for batch in case.plan.batches:
        total, gradient = 0.0, 0.0
        rows = case.plan.batch_rows(batch)
        half = (rows.stop - rows.start) // 2
        for first, last in ((0, half), (half, None)):
            value, part = training.trainer.gradient(case.plan, batch, first, last)
            total, gradient = total + value, gradient + part.copy()
        losses.append(total + training.trainer.add_penalty(case.plan, batch, gradient))
        training.trainer.update(case.plan, batch, gradient)
    expected = case.run(xp)
    assert_close(np.array(losses), expected[0], 1e-12)
    for actual, desired in zip(training.current_arrays(), expected[1:], strict=True):
        assert_close(actual, desired, 1e-12)


def test_steps_by_hand_between_epochs(xp):
    """A step of summed gradients continues from the epochs before it, and the epochs after it from the step."""
    case = make(rule=ADAM)
    first, second = following_plans(case.plan, 2)
    training = Training(xp, case)
    training.epochs(first)
    _, gradient = training.trainer.gradient(second, 0)
    gradient = gradient.copy()
    training.trainer.add_penalty(second, 0, gradient)
    training.trainer.update(second, 0, gradient)
    training.epochs(replace(second, first_batch=1))
    expected = Training(xp, case)
    expected.epochs(first, second)
    for mine, its in zip(training.arrays(), expected.arrays(), strict=True):
        assert_close(mine, its, 1e-13)


def test_roll_back_undoes_a_step_by_hand(xp):
    case = make(rule=ADAM)
    training = Training(xp, case)
    _, gradient = training.trainer.gradient(case.plan, 0)
    training.trainer.update(case.plan, 0, gradient)
    training.trainer.roll_back()
    assert_bitwise_equal(training.current_arrays(), (case.params, case.state))


@pytest.mark.parametrize("rows", [(7, 0, 1), (-1, 0, 1), (0, -1, 3), (0, 3, 2), (0, 0, 9)])
def test_gradients_are_of_rows_that_exist(xp, rows):
    case = make()
    with pytest.raises(ConfigurationError, match="are not among them"):
        Training(xp, case).trainer.gradient(case.plan, *rows)


def test_processes_that_share_a_global_batch(xp):
    """Two processes, each with its rows of a batch: their gradients, read from SGD updates, add up."""
    whole = make(n=10, batch_size=10, dropout=0.4, weighted=True, rule=SGD, l2=np.zeros(1))
    total = np.array([whole.weight.sum()])
    changes = []
    for first, last in ((0, 4), (4, 10)):
        rows = whole.plan.order[first:last]
        plan = replace(whole.plan, order=rows, row_offset=first, batch_weight=total)
        _, params, _ = replace(whole, plan=plan).run(xp)
        changes.append(params - whole.params)
    assert_close(whole.params + sum(changes), whole.run(xp)[1], 1e-14)


def test_a_batch_of_a_weightless_global_batch_changes_nothing(xp):
    case = make(rule=MOMENTUM, batch_weight=np.zeros(7))
    assert_array_equal(case.run(xp)[1], case.params)


# -- learning rates of slices -------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [SGD, MOMENTUM, ADAM], ids=lambda rule: rule.name)
def test_a_slice_has_its_own_learning_rate(xp, rule):
    case = make(rule=rule, n=8, weight_decay=0.2, clip_norm=0.3)
    n = case.plan.network.layout.n_parameters
    factors = ((10, 70, 3.0), (70, 71, 0.0), (n - 2, n, 0.5))
    _, params, state = replace(case, plan=replace(case.plan, rate_factors=factors)).run(xp)
    expected = case.run(xp)[1]
    for start, stop, factor in factors:
        rates = replace(case.plan, learning_rates=factor * case.plan.learning_rates)
        expected[start:stop] = replace(case, plan=rates).run(xp)[1][start:stop]
    assert_close(params, expected, 1e-14)
    assert_close(state, case.run(xp)[2], 1e-14)


@pytest.mark.parametrize("wrong", [((3, 2, 1.0),), ((0, 4, 1.0), (3, 6, 2.0)), ((0, 10**6, 1.0),), ((-1, 3, 1.0),)])
def test_slices_are_in_order_and_within_the_parameters(wrong):
    with pytest.raises(ConfigurationError, match="must be slices"):
        make(rate_factors=wrong)


# -- label smoothing ----------------------------------------------------------------------------------------


def test_smoothed_class_numbers_are_smoothed_rows(xp):
    case = make(label_smoothing=0.1)
    rows = np.eye(4)[case.target] * 0.9 + 0.1 / 4
    expected = replace(case, plan=replace(case.plan, label_smoothing=0.0), target=rows).run(xp)
    for actual, desired in zip(case.run(xp), expected, strict=True):
        assert_close(actual, desired, 1e-14)


def test_smoothed_labels_are_two_classes_each(xp):
    case = make(kind="sigmoid+binary_cross_entropy", label_smoothing=0.2)
    plain = replace(case.plan, label_smoothing=0.0)
    expected = replace(case, plan=plain, target=0.8 * case.target + 0.1).run(xp)
    for actual, desired in zip(case.run(xp), expected, strict=True):
        assert_close(actual, desired, 1e-14)


def test_smoothing_is_that_of_pytorch(xp):
    torch = pytest.importorskip("torch")
    case = make(n=8, rule=SGD, label_smoothing=0.3, l2=np.zeros(1))
    losses, _, _ = case.run(xp)
    (W1, b1), (W2, b2) = case.plan.network.layout.layers(case.params)
    order = case.plan.order
    z = np.tanh(case.X[order] @ W1 + b1) @ W2 + b2
    loss = torch.nn.functional.cross_entropy(torch.tensor(z), torch.tensor(case.target[order]), label_smoothing=0.3)
    assert_allclose(losses[0], float(loss), rtol=1e-12)


def test_smoothing_does_not_take_numbers_for_classes(xp):
    case = make(sizes=(6, 9, 1), kind="sigmoid+binary_cross_entropy", label_smoothing=0.1)
    with pytest.raises(ShapeError, match=r"smooth_labels: target .* must have shape \(n, 1\)"):
        replace(case, target=(case.target[:, 0] > 0.5).astype(float)).run(xp)
    with pytest.raises(DtypeError, match="class numbers must be integers"):
        replace(make(label_smoothing=0.1), target=np.zeros(50)).run(xp)


def test_smoothing_needs_probabilities():
    with pytest.raises(ConfigurationError, match="targets that are probabilities"):
        make(kind="identity+mse", label_smoothing=0.1)
    with pytest.raises(ConfigurationError, match="below 1"):
        make(label_smoothing=1.0)


# -- the scaling layer --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_gradients_of_a_scaling_layer_are_those_of_differences(xp, dropout):
    case = make(sizes=(5, 7, 3), scaling_layer=True, dropout=dropout, l2=np.zeros(7))
    network, params = case.plan.network, xp.asarray(case.params.copy())
    x, target = xp.asarray(case.X[:8]), xp.asarray(case.target[:8])
    workspace = backpropagation.Workspace(xp, network, 8, np.dtype("float64"))

    def loss():
        value, gradient = backpropagation.loss_and_gradient(
            xp, network, params, workspace, x, target, counter=(1, 2, 3)
        )
        return value, xp.to_numpy(gradient).copy()

    _, gradient = loss()
    differences = np.empty_like(gradient)
    for i in range(gradient.size):
        before = float(params[i])
        params[i] = before + 1e-6
        above = loss()[0]
        params[i] = before - 1e-6
        differences[i] = (above - loss()[0]) / 2e-6
        params[i] = before
    assert_allclose(gradient, differences, atol=1e-8)


def test_a_scaling_layer_of_ones_changes_no_loss_and_then_learns(xp):
    scaled = make(scaling_layer=True, rule=ADAM)
    factors = scaled.plan.network.layout.scaling(scaled.params)
    factors[...] = 1
    plain = make(rule=ADAM)
    plain = replace(scaled, plan=plain.plan, params=scaled.params[:-6], state=plain.state)
    losses, params, _ = scaled.run(xp)
    assert_allclose(losses[0], plain.run(xp)[0][0], rtol=1e-13)
    assert np.abs(scaled.plan.network.layout.scaling(params) - 1).min() > 1e-3
    logits = backpropagation.logits(xp, scaled.plan.network, xp.asarray(scaled.params), xp.asarray(scaled.X))
    assert_array_equal(
        xp.to_numpy(logits),
        xp.to_numpy(backpropagation.logits(xp, plain.plan.network, xp.asarray(plain.params), xp.asarray(plain.X))),
    )


# -- all fields together ------------------------------------------------------------------------------------


def with_scaling_layer(case):
    """The case with a scaling layer before its network."""
    plan, rng = case.plan, np.random.default_rng(1)
    layout = Layout(plan.network.layout.sizes, True)
    n_in = layout.sizes[0]
    state = np.concatenate([case.state, rng.uniform(0.1, 0.5, (len(case.state), n_in))], axis=1)
    plan = replace(plan, network=replace(plan.network, layout=layout))
    return replace(case, plan=plan, params=np.append(case.params, rng.uniform(0.5, 1.5, n_in)), state=state)


@st.composite
def extended_cases(draw, *, scaling_layers=True, **settings):
    """Cases of `test_same_results` with any of the additional fields."""
    case = draw(cases(**settings))
    plan, network = case.plan, case.plan.network
    total = len(plan.batches)
    first = draw(st.integers(0, total - 1))
    changes = {
        "first_batch": first,
        "n_batches": draw(st.one_of(st.none(), st.integers(0, total - first))),
        "batches_before": draw(st.integers(0, 100)),
        "row_offset": draw(st.integers(0, 100)),
    }
    if draw(st.booleans()):
        changes["order"] = Shuffle(draw(st.integers(0, 9)), draw(st.integers(0, 9)), len(plan.order))
    if draw(st.booleans()):
        changes["batch_weight"] = plan.batch_size * np.random.default_rng(0).integers(0, 4, total).astype(float)
    if draw(st.booleans()):
        start, stop = sorted(draw(st.tuples(*[st.integers(0, network.layout.n_parameters)] * 2)))
        changes["rate_factors"] = ((start, stop, draw(st.floats(0, 2))),)
    if scaling_layers and draw(st.booleans()):
        case = with_scaling_layer(case)
        network = case.plan.network
        if draw(st.booleans()):
            starts = [network.layout.n_weights, network.layout.n_parameters - network.layout.sizes[0]]
            factors = draw(st.tuples(*[st.floats(0, 2)] * 3))
            bounds = [0, *starts, network.layout.n_parameters]
            changes["rate_factors"] = tuple(zip(bounds[:-1], bounds[1:], factors, strict=True))
        plan = case.plan
    if network.kind.loss.name in ("cross_entropy", "binary_cross_entropy") and draw(st.booleans()):
        changes["label_smoothing"] = draw(st.floats(0, 0.9))
    return replace(case, plan=replace(plan, **changes))


@settings(max_examples=100)
@given(case=extended_cases())
def test_every_backend_agrees_with_the_reference(xp, case):
    reference = case.run(backends.get_backend("numpy"))
    for actual, desired in zip(case.run(xp), reference, strict=True):
        assert_close(actual, desired, 1e-12)


@settings(max_examples=50)
@given(case=extended_cases())
def test_every_backend_agrees_with_its_own_loop(xp, case):
    for actual, desired in zip(
        case.run(xp), case.run(xp, train=lambda *a: readable_loop.train_epoch(xp, *a)), strict=True
    ):
        assert_close(actual, desired, 1e-12)
