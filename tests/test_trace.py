"""Traces of training steps, compared with training, a naive float64 network, PyTorch, and published figures."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import oracle
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import mlp
from backends import formulas
from mlp.cli import cli
from mlp.inspection.trace.explanations import explanations
from mlp.trace import exercise, mazur

HIDDEN = [name for name, row in formulas.ACTIVATIONS.items() if row.role == "any" and row.backward is not None]
OUTPUTS = [("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy"), ("exp", "poisson")]
OUTPUTS += [("softplus", "poisson"), ("identity", "mse"), ("sigmoid", "quadratic"), ("softmax", "mse")]
OUTPUTS += [("tanh", "huber"), ("silu", "mae"), ("softplus", "quantile")]
OPTIMIZERS = [
    mlp.SGD(0.01),
    mlp.SGD(0.01, momentum=0.9),
    mlp.SGD(0.01, momentum=0.9, nesterov=True, clip_value=0.05),
    mlp.SGD(0.01, momentum=0.9, rate_inside=True),
    mlp.SGD(0.01, momentum=0.9, nesterov=True, rate_inside=True),
    mlp.Adagrad(0.01),
    mlp.RMSprop(0.01, weight_decay=0.1),
    mlp.Adam(0.01, clip_norm=0.1),
    mlp.AdamW(0.01, epsilon_hat=True, clip_value=0.1, clip_norm=0.2),
]
FULL = {"dropout": 0.3, "input_dropout": 0.2, "l2": 0.1, "l1": 0.01}
WEIGHT = np.array([1, 0, 2, 0.5, 1])


def problem(sizes=(3, 4, 3), activation="tanh", output="softmax", loss="cross_entropy", seed=0, **settings):
    """A network with random weights and biases, five rows, and targets that are valid for the loss."""
    rng = np.random.default_rng(seed)
    net = mlp.MLP(sizes, activation, output, loss, seed=seed, **{"dtype": "float64", "backend": "numpy"} | settings)
    net.biases = [0.3 * rng.normal(size=b.shape) for b in net.biases]
    shape = 5, sizes[-1]
    targets = {
        "cross_entropy": rng.integers(sizes[-1], size=5) if sizes[-1] > 1 else None,
        "binary_cross_entropy": rng.integers(2, size=shape),
        "poisson": rng.poisson(2, size=shape),
    }
    return net, rng.normal(size=(5, sizes[0])), targets.get(loss, rng.normal(size=shape))


def after(step, net):
    """The parameters after a step, in the order of the network's buffer."""
    layers = range(1, len(net.sizes))
    return np.concatenate([step[f"new_{part}{l}"].ravel() for part in "Wb" for l in layers])


def flat(net):
    return np.concatenate([p.ravel() for p in (*net.weights, *net.biases)])


# -- a published example ----------------------------------------------------------------------------------------


def test_mazur(backend):
    """The figures of "A Step by Step Backpropagation Example"."""
    net, X, y = mazur()
    step = net.to(backend).trace(X, y, optimizer=mlp.SGD(0.5)).steps[0]
    published = {
        "z1": [[0.3775, 0.3925]],
        "a1": [[0.593269992, 0.596884378]],
        "z2": [[1.105905967, 1.224921404]],
        "a2": [[0.75136507, 0.772928465]],
        "L": 0.298371109,
        "slope2": [[0.186815602, 0.175510053]],
        "dz2": [[0.138498562, -0.0380982366]],
        "da1": [[0.036350306, 0.041370323]],
        "new_W2": [[0.35891648, 0.511301270], [0.408666186, 0.561370121]],
        "new_W1": [[0.149780716, 0.24975114], [0.19956143, 0.29950229]],
    }
    for name, figures in published.items():
        assert_allclose(step[name], figures, atol=6e-9, err_msg=name)
    assert_allclose(step["dW2"][0, 0], 0.082167041, atol=6e-10)
    assert_allclose(step["dW1"][0, 0], 0.000438568, atol=6e-10)


def test_mazur_after_ten_thousand_rounds():
    net, X, y = mazur()
    biases = net.biases

    def keep_biases(run):
        run.net.biases = biases

    history = net.fit(X, y, epochs=10_000, optimizer=mlp.SGD(0.5), callbacks=[keep_biases])
    assert_allclose(history.loss[:2], [0.298371109, 0.291027924], atol=2e-7)
    assert_allclose(history.loss[-1], 0.0000351085, atol=6e-11)


# -- training ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.rule.name)
@pytest.mark.parametrize("settings", [{}, FULL, FULL | {"dtype": "float32"}], ids=["plain", "full", "float32"])
def test_the_numbers_are_those_of_partial_fit(settings, optimizer):
    net, X, y = problem(**settings)
    weight = WEIGHT if settings else None
    trace = net.trace(X, y, optimizer=optimizer, steps=7, batch_size=2, sample_weight=weight)
    assert [(step.epoch, step.batch) for step in trace.steps] == [
        (1, 1),
        (1, 2),
        (1, 3),
        (2, 1),
        (2, 2),
        (2, 3),
        (3, 1),
    ]
    assert trace.steps[3].title.startswith("Step 4: batch 1 of epoch 2")
    net.partial_fit(X, y, optimizer=optimizer, batch_size=2, sample_weight=weight)
    net.partial_fit(X, y, batch_size=2, sample_weight=weight)
    assert_array_equal(after(trace.steps[5], net), flat(net))


@pytest.mark.parametrize("shape", [((3, 4, 3), "tanh"), ((2, 5, 4, 2), ["gelu", "relu"]), ((3, 2), ())], ids=str)
def test_the_numbers_are_those_of_fit_on_every_backend(backend, shape):
    net, X, y = problem(*shape, backend=backend, **(FULL if len(shape[0]) == 3 else {}))
    y = np.arange(5) % net.sizes[-1]
    trace = net.trace(X, y, optimizer="adam", steps=6, batch_size=2)
    history = net.fit(X, y, optimizer="adam", epochs=2, batch_size=2, shuffle=False)
    # the backend's fused epoch has another order of summation
    tolerance = {} if backend == "numpy" else {"rtol": 1e-9, "atol": 1e-11}
    (assert_allclose if tolerance else assert_array_equal)(after(trace.steps[-1], net), flat(net), **tolerance)
    rows = [2, 2, 1]
    assert_allclose(np.average([step.loss for step in trace.steps[3:]], weights=rows), history.loss[-1], rtol=1e-9)


def test_the_numbers_are_those_of_every_backends_own_operations(backend):
    """With a user-defined function every backend runs the portable loop, which is traced: results are bit-identical."""
    cube = mlp.custom_activation("cube", lambda xp, z: z * z * z + z, lambda xp, z: 3 * z * z + 1)
    net, X, y = problem((3, 6, 5, 3), [cube, "tanh"], backend=backend, **FULL | {"dropout": [0.3, 0.1]})
    trace = net.trace(X, y, optimizer=mlp.AdamW(0.01, clip_norm=0.5), steps=6, batch_size=2, sample_weight=WEIGHT)
    net.fit(X, y, optimizer=mlp.AdamW(0.01, clip_norm=0.5), epochs=2, batch_size=2, shuffle=False, sample_weight=WEIGHT)
    assert_array_equal(after(trace.steps[-1], net), flat(net))


def test_a_trace_changes_nothing(backend):
    (net, X, y), (clone, _, _) = problem(backend=backend, **FULL), problem(backend=backend, **FULL)
    for each in (net, clone):
        each.fit(X, y, epochs=2, optimizer=mlp.Adam(mlp.schedules.ReduceOnPlateau(0.01, patience=1)))
    before, history = flat(net), len(net.history)
    net.trace(X, y, steps=5)
    net.trace(X, y, optimizer="sgd")
    assert_array_equal(flat(net), before)
    assert len(net.history) == history
    for each in (net, clone):
        each.fit(X, y, epochs=5, resume=True)
    assert_array_equal(flat(net), flat(clone))


def test_without_an_optimizer_it_goes_on_with_the_last_one():
    net, X, y = problem(**FULL)
    net.partial_fit(X, y, optimizer=mlp.SGD(0.01, momentum=0.9))
    net.partial_fit(X, y)
    trace = net.trace(X, y, steps=2)
    assert trace.steps[0]["velocity_W1"].any()
    net.partial_fit(X, y)
    net.partial_fit(X, y)
    assert_array_equal(after(trace.steps[-1], net), flat(net))


def test_a_batch_without_weight_changes_nothing():
    net, X, y = problem()
    trace = net.trace(X, y, optimizer="adam", steps=3, batch_size=2, sample_weight=[0, 0, 1, 1, 1])
    assert not [quantity for quantity in trace.steps[0].quantities if quantity.phase == "update"]
    assert trace.steps[0].loss == 0
    assert_array_equal(trace.steps[1]["W1"], net.weights[0])
    run_program(trace)


def test_bytes_are_scaled_and_targets_too():
    net = mlp.MLP([2, 1], loss="mse", input_scale=1 / 255, target_scaling=([1.0], [2.0]), dtype="float64")
    step = net.trace(np.array([[0, 255]], np.uint8), [5.0]).steps[0]
    assert step["a0"].tolist() == [[0.0, 1.0]]
    assert step["t"].tolist() == [[2.0]]


# -- independent computations -----------------------------------------------------------------------------------


@st.composite
def networks(draw):
    depth = draw(st.integers(1, 3))
    output, loss = draw(st.sampled_from(OUTPUTS))
    sizes = [draw(st.integers(1, 4)) for _ in range(depth)] + [draw(st.integers(2, 3))]
    hidden = [draw(st.sampled_from(HIDDEN)) for _ in range(depth - 1)]
    settings = draw(st.sampled_from([{}, FULL, {"l2": 0.2}, {"dropout": 0.5}]))
    net, X, y = problem(sizes, hidden, output, loss, seed=draw(st.integers(0, 99)), **settings)
    return (
        net,
        X / 5 if output == "exp" else X,
        y,
    ), settings  # with large learning rates, Poisson losses diverge quickly


@given(networks(), st.sampled_from(OPTIMIZERS), st.sampled_from([None, WEIGHT]))
def test_the_numbers_are_those_of_a_naive_network(found, optimizer, weight):
    (net, X, y), settings = found
    trace = net.trace(X, y, optimizer=optimizer, steps=3, batch_size=2, sample_weight=weight)
    names = [row.name for row in net.plan.activations]
    naive = oracle.Net(
        net.weights, net.biases, names, net.kind.loss.name, net.plan.dropout,
        l2=settings.get("l2", 0), l1=settings.get("l1", 0),
    )  # fmt: skip
    used = np.ones(5) if weight is None else weight
    batches = [(X[first : first + 2], y[first : first + 2], used[first : first + 2]) for first in (0, 2, 4)]
    _, gradients = naive.loss_and_gradients(*batches[0], (net.seed, 0, 0))
    for l, (dW, db) in enumerate(gradients, start=1):
        name = f"penalised_dW{l}" if net.l2 or net.l1 else f"dW{l}"
        assert_allclose(trace.steps[0][name], dW, rtol=1e-9, atol=1e-12)
        assert_allclose(trace.steps[0][f"db{l}"], db, rtol=1e-9, atol=1e-12)
    rule = oracle.Rule(optimizer.rule.name, **optimizer.rule.hyper)
    bounds = {name: getattr(optimizer, name) for name in ("weight_decay", "clip_value", "clip_norm")}
    losses = naive.train(batches, rule, rates=[optimizer.learning_rate] * 3, seed=net.seed, **bounds)
    # updates that divide by the size of the gradient amplify the rounding errors of gradients near zero
    assert_allclose([step.loss for step in trace.steps], losses, rtol=1e-6)
    expected = np.concatenate([p.ravel() for p in (*naive.weights, *naive.biases)])
    assert_allclose(after(trace.steps[-1], net), expected, rtol=1e-6, atol=1e-6)


@given(networks())
def test_every_slope_is_that_of_autograd(found):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    functional = torch.nn.functional
    functions = {
        "identity": lambda z: z,
        "gelu_tanh": lambda z: functional.gelu(z, approximate="tanh"),
        "softmax": lambda z: torch.softmax(z, 1),
        "exp": torch.exp,
    }
    losses = {
        "cross_entropy": lambda z, a, t: -(t * torch.log_softmax(z, 1)).sum(1).mean(),
        "binary_cross_entropy": lambda z, a, t: functional.binary_cross_entropy_with_logits(z, t),
        "mse": lambda z, a, t: functional.mse_loss(a, t),
        "quadratic": lambda z, a, t: 0.5 * ((a - t) ** 2).sum(1).mean(),
        "mae": lambda z, a, t: functional.l1_loss(a, t),
        "huber": lambda z, a, t: functional.huber_loss(a, t),
        "quantile": lambda z, a, t: functional.l1_loss(a, t) / 2,
        "poisson": lambda z, a, t: (torch.xlogy(t, t) - t * torch.log(a) - t + a).mean(),
    }
    (net, X, y), _ = found
    step = net.trace(X, y).steps[0]
    kept, x = {}, torch.tensor(step["a0"])
    for l, row in enumerate(net.plan.activations, start=1):
        if net.plan.dropout[l - 1]:
            x = x * torch.tensor(step[f"mask{l - 1}"])
        W, b = (torch.tensor(np.array(p[l - 1]), requires_grad=True) for p in (net.weights, net.biases))
        kept |= {f"W{l}": W, f"b{l}": b}
        z = kept[f"z{l}"] = x @ W + b
        x = (functions.get(row.name) or getattr(functional, row.name))(z)
        if l < len(net.sizes) - 1:
            kept[f"a{l}"] = x
        for tensor in (z, x):
            tensor.retain_grad()
    loss = losses[net.kind.loss.name](z, x, torch.tensor(step["t"]))
    loss.backward()
    assert_allclose(step["L"], loss.item(), rtol=1e-10)
    for name, tensor in kept.items():
        assert_allclose(step[name], tensor.detach().numpy(), rtol=1e-10, atol=1e-13, err_msg=name)
        assert_allclose(step[f"d{name}"], tensor.grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=f"d{name}")


@pytest.mark.parametrize("name", [name for name in HIDDEN if not name.startswith("gelu")])
def test_the_formulas_as_written_are_those_computed(name):
    """Executed as a program, the formulas give the numbers next to them."""
    net, X, y = problem((3, 5, 3), name)
    step = net.trace(X, y).steps[0]
    known = {"z": step["z1"], "a": step["a1"]} | vars(np) | {"σ": lambda z: 1 / (1 + np.exp(-z))}
    for quantity in step.quantities:
        if quantity.name in ("a1", "slope1"):
            text = quantity.formula
            for written, meant in {
                "⁽¹⁾": "",
                "−": "-",
                "⊙": "*",
                "·": "*",
                "e^": "exp",
                "ln": "log",
                "max": "maximum",
            }.items():
                text = text.replace(written, meant)
            text = re.sub(r"^(.*) where (.*), else (.*)$", r"where(\2, \1, \3)", text)
            expected = eval(text, {}, known)
            assert_allclose(quantity.values, np.broadcast_to(expected, (5, 5)), rtol=1e-3, atol=1e-12)


# -- the program ------------------------------------------------------------------------------------------------


def run_program(trace, tmp_path=None):
    """Run the program without the project on its path; return the printed values by name and step."""
    program = trace.to_numpy_program()
    done = subprocess.run([sys.executable, "-I", "-"], input=program.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert not re.search(r"^\s*(import|from) (mlp|backends|scipy)", program, re.MULTILINE)
    return [(name, ast.literal_eval(value)) for name, _, value in
            (line.partition(" = ") for line in done.stdout.decode().splitlines())]  # fmt: skip


def computed(trace):
    return [(q.name, q.values) for step in trace.steps for q in step.quantities if q.code is not None]


@pytest.mark.parametrize("number", range(len(OUTPUTS)))
def test_the_program_computes_the_same_numbers(backend, number):
    output, loss = OUTPUTS[number]
    hidden = [HIDDEN[number % len(HIDDEN)], HIDDEN[-number]]
    net, X, y = problem((3, 4, 5, 3), hidden, output, loss, backend=backend, **(FULL if number % 2 else {}))
    weight = WEIGHT if number % 3 else None
    trace = net.trace(X, y, optimizer=OPTIMIZERS[number % len(OPTIMIZERS)], steps=3, batch_size=3, sample_weight=weight)
    printed, expected = run_program(trace), computed(trace)
    assert [name for name, _ in printed] == [name for name, _ in expected]
    for (name, found), (_, values) in zip(printed, expected, strict=True):
        assert_allclose(found, values, rtol=1e-9, atol=1e-12, err_msg=name)


def test_the_program_of_a_float32_network_computes_in_float32():
    net, X, y = problem((3, 6, 4, 3), ["sigmoid", "silu"], dtype="float32")
    trace = net.trace(X, y, optimizer=mlp.Adam(0.01), steps=4, batch_size=2)
    for (name, found), (_, values) in zip(run_program(trace), computed(trace), strict=True):
        assert_array_equal(np.array(found, values.dtype), found)
        assert_allclose(found, values, rtol=1e-4, atol=1e-6, err_msg=name)


def test_the_program_fails_where_a_number_is_wrong():
    net, X, y = mazur()
    program = net.trace(X, y, optimizer=mlp.SGD(0.5)).to_numpy_program()
    spoilt = program.replace("0.5 * (r * r)", "0.6 * (r * r)")
    assert spoilt != program
    done = subprocess.run([sys.executable, "-"], input=spoilt.encode(), capture_output=True, check=False)
    assert done.returncode == 1
    assert b"AssertionError" in done.stderr
    assert b"L" in done.stderr


# -- formats ------------------------------------------------------------------------------------------------------


def test_a_table_in_markdown():
    net, X, y = mazur()
    trace = net.trace(X, y, optimizer=mlp.SGD(0.5))
    lines = trace.to_markdown().splitlines()
    assert "| $a^{(1)}$ | $1 / (1 + e^{-z^{(1)}})$ | 1 × 2 | 0.593269992, 0.596884378 |" in lines
    assert (
        r"| $W^{(2)} \leftarrow$ | $W^{(2)} - \eta \cdot \partial L/\partial W^{(2)}$ | 2 × 2 "
        "| 0.35891648, 0.51130127<br>0.408666186, 0.561370121 |" in lines
    )
    blank = trace.to_markdown(blank=True).splitlines()
    assert "| $a^{(1)}$ | $1 / (1 + e^{-z^{(1)}})$ | 1 × 2 |  |" in blank
    assert "| $b^{(1)}$ |  | 2 | 0.35, 0.35 |" in blank
    rows = [re.split(r"(?<!\\)\|", line) for line in lines if line.startswith("|")]
    assert {len(cells) for cells in rows} == {6}


def test_a_bar_in_a_formula_does_not_end_a_cell_of_markdown():
    net, X, y = problem(l1=0.1, loss="mae", output="identity")
    for line in net.trace(X, y).to_markdown().splitlines():
        assert not line.startswith("|") or len(re.split(r"(?<!\\)\|", line)) == 6


def test_text():
    net, X, y = mazur()
    text = str(net.trace(X, y, optimizer=mlp.SGD(0.5)))
    assert "  L = 1/m · Σ [½(a⁽²⁾ − t)²] = 0.298371109\n" in text
    assert "  W⁽²⁾ ← W⁽²⁾ − η·∂L/∂W⁽²⁾\n       0.35891648   0.51130127\n      0.408666186  0.561370121\n" in text


def test_json_holds_every_digit():
    net, X, y = problem(**FULL)
    trace = net.trace(X, y, optimizer=mlp.Adam(), steps=2, sample_weight=WEIGHT)
    document = json.loads(trace.to_json())
    assert document["optimizer"]["name"] == "adam"
    for step, written in zip(trace.steps, document["steps"], strict=True):
        assert written["loss"] == step.loss
        for quantity, entry in zip(step.quantities, written["quantities"], strict=True):
            assert (entry["name"], entry["symbol"], entry["formula"]) == (
                quantity.name,
                quantity.symbol,
                quantity.formula,
            )
            assert_array_equal(np.array(entry["values"], quantity.values.dtype), quantity.values)


class Page(HTMLParser):
    """A parsed page: open tags, table cells, and every resource that a browser would fetch."""

    def __init__(self, text):
        super().__init__()
        self.open, self.cells, self.fetched = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "br", "link"):
            self.open.append(tag)
        self.fetched += [value for name, value in attributes if name in ("src", "href")]
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open:
            self.cells[-1] += data


def test_html():
    net, X, y = problem(activation="relu", **FULL)
    trace = net.trace(X, y)
    page = Page(trace.to_html())
    assert not page.open
    assert page.fetched == ["data:,"]
    assert len(page.cells) == 4 * len(trace.steps[0].quantities)
    assert any(cell.startswith("1 where z(1) > 0, else 0") for cell in page.cells)


@pytest.mark.parametrize("form", ["to_text", "to_markdown", "to_html", "to_json"])
def test_a_large_network_is_summed_up(form):
    net = mlp.MLP([784, 512, 512, 10], backend="numpy")
    rng = np.random.default_rng(0)
    trace = net.trace(rng.uniform(size=(32, 784)), np.arange(32) % 10)
    text = getattr(trace, form)()
    assert len(text) < 40_000
    largest = trace.steps[0]["new_W1"]
    assert largest.shape == (784, 512)
    assert f"{float(np.linalg.norm(largest.astype(float))):.6g}"[:6] in text


def test_a_long_trace_is_cut():
    net, X, y = mazur()
    trace = net.trace(X, y, optimizer=mlp.SGD(0.5), steps=200)
    assert len(trace.steps) == 200
    text = trace.to_text()
    assert text.count("\nStep ") == 10
    assert "\nStep 200:" in text
    assert json.loads(trace.to_json())["n_steps"] == 200


def test_the_names_of_a_step_are_told():
    net, X, y = mazur()
    step = net.trace(X, y).steps[0]
    names = [quantity.name for quantity in step.quantities]
    assert len(set(names)) == len(names)
    with pytest.raises(mlp.UnknownNameError, match="did you mean 'dW1'"):
        step["dw1"]


def test_a_trace_is_frozen():
    net, X, y = mazur()
    step = net.trace(X, y).steps[0]
    with pytest.raises(ValueError, match="read-only"):
        step["z1"][0] = 1
    with pytest.raises(AttributeError):
        step.loss = 0.0


# -- explanations ---------------------------------------------------------------------------------------------------


def value_of(text):
    """What a line with numbers put in computes, read as a program."""
    text = re.sub(
        r"(?<=\d)([⁰¹²³⁴⁵⁶⁷⁸⁹]+)", lambda m: "**" + m[1].translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")), text
    )
    for written, meant in {
        "10⁻⁶": "1e-6", "⁻": "-", "−": "-", "·": "*", "e^": "exp", "½": "0.5*", ")²": ")**2", "[": "(", "]": ")",
    }.items():  # fmt: skip
        text = text.replace(written, meant)
    text = re.sub(r"ln ([\d.e-]+)", r"log(\1)", text.replace("ln(", "log("))
    text = re.sub(r"√([\d.e-]+)", r"sqrt(\1)", text.replace("√(", "sqrt("))
    text = re.sub(r"\|([^|]*)\|", r"abs(\1)", text)
    text = re.sub(r"0\.5\* ?where", "where", text)
    text = re.sub(r"^(.*) where (.*), else (.*)$", r"(\1) if (\2) else (\3)", text)
    return eval(
        text, {"max": max, "min": min} | {name: getattr(np, name) for name in ("exp", "log", "sign", "sqrt", "tanh")}
    )


@pytest.mark.parametrize("number", range(len(HIDDEN)))
def test_the_lines_with_numbers_compute_their_results(number):
    (output, loss), optimizer = OUTPUTS[number % len(OUTPUTS)], OPTIMIZERS[number % len(OPTIMIZERS)]
    settings = [{}, FULL][number % 2]
    net, X, y = problem((3, 4, 3), HIDDEN[number], output, loss, **settings)
    for step in net.trace(X, y, optimizer=optimizer, steps=2, batch_size=2).steps:
        explained = explanations(step)
        assert {"z", "dW", "new_W"} <= {re.sub(r"\d+$", "", name) for name in explained}
        for _, sentence, worked in explained.values():
            assert sentence.endswith(".")
            if not worked or re.search("…|[Φσ]", worked):
                continue
            _, right = re.split(" [=←] ", worked, maxsplit=1)
            right, _, result = right.rpartition(" = ")
            # the numbers are rounded to five digits, and their differences may be much smaller than they are
            assert value_of(right) == pytest.approx(float(result.replace("−", "-")), rel=0.02, abs=2e-4), worked


def test_each_number_of_a_layer_is_in_parentheses():
    net, X, y = problem(**FULL)
    trace = net.trace(X, y, optimizer=mlp.Adam(), steps=2, sample_weight=WEIGHT)
    for text in (trace.to_text(), *(q.equation for step in trace.steps for q in step.quantities)):
        assert not re.search(r"[abzMã][⁰¹²³]", text)
        assert "W¹" not in text
    assert "a⁽¹⁾ = tanh(z⁽¹⁾)" in trace.to_text()
    assert "<i>a</i><sup>(1)</sup>" in trace.to_html()
    assert "$a^{(1)}$" in trace.to_markdown()


@pytest.mark.parametrize("number", range(len(HIDDEN)))
def test_matplotlib_and_browsers_read_the_formulas(number):
    mathtext = pytest.importorskip("matplotlib.mathtext", reason="formulas are checked by the extra plot")
    (output, loss), optimizer = OUTPUTS[number % len(OUTPUTS)], OPTIMIZERS[number % len(OPTIMIZERS)]
    net, X, y = problem((3, 4, 3), HIDDEN[number], output, loss, **FULL)
    trace = net.trace(X, y, optimizer=optimizer, steps=2, sample_weight=WEIGHT)
    formulas_shown = set(re.findall(r"\$([^$]+)\$", trace.to_markdown()))
    assert len(formulas_shown) > 40
    for formula in formulas_shown:
        mathtext.MathTextParser("path").parse(f"${formula}$")
        assert not re.search(r"[^\x00-\x7f]", formula), formula
    Page(trace.to_html())


def test_a_blank_exercise_has_no_answers():
    net, X, y = mazur()
    blank = net.trace(X, y, optimizer=mlp.SGD(0.5)).to_markdown(blank=True)
    computed_part = blank.split("### forward")[1]
    assert "Each neuron adds its weighted inputs and its bias." in computed_part
    assert not re.search(r"\d\.\d", computed_part)


# -- invalid input ------------------------------------------------------------------------------------------------


def test_bad_input_is_an_error_that_helps():
    net, X, y = problem()
    with pytest.raises(mlp.ShapeError, match="its 2 columns must equal the network's 3 inputs"):
        net.trace(X[:, :2], y)
    with pytest.raises(mlp.DtypeError, match="y is None"):
        net.trace(X, None)
    with pytest.raises(mlp.ShapeError, match="has 4 rows and X has 5"):
        net.trace(X, y[:4])
    with pytest.raises(mlp.ConfigurationError, match="steps must be a positive integer"):
        net.trace(X, y, steps=0)
    with pytest.raises(mlp.ConfigurationError, match="Trace fewer steps"):
        net.trace(X, y, steps=10**7)
    with pytest.raises(mlp.NotDifferentiableError, match="step"):
        mlp.MLP([3, 2], output_activation="step", loss="mse").trace(X, y % 2)
    net, X, y = problem(output="identity", loss="mse")
    with pytest.raises(mlp.DivergenceError):
        net.trace(X, y, optimizer=mlp.SGD(1e200), steps=5)


def test_a_program_that_nobody_could_read_is_refused():
    net = mlp.MLP([784, 30, 10])
    with pytest.raises(mlp.ConfigurationError, match="at most 20,000 are allowed"):
        net.trace(np.zeros((1, 784)), [3]).to_numpy_program()
    cube = mlp.custom_activation("cube", lambda xp, z: z * z * z, lambda xp, z: 3 * z * z)
    net, X, y = problem(activation=cube)
    trace = net.trace(X, y)
    assert "a⁽¹⁾ = cube(z⁽¹⁾)" in trace.to_text()
    with pytest.raises(mlp.ConfigurationError, match="'cube' is a user-defined function"):
        trace.to_numpy_program()


# -- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments, status=0):
        result = CliRunner().invoke(cli, ["trace", *map(str, arguments)], prog_name="mlp")
        assert result.exit_code == status, (result.output, result.exception)
        return result

    return run


def test_the_published_example_on_the_command_line(run):
    document = json.loads(run("--example", "mazur", "--format", "json").stdout)
    values = {entry["name"]: entry["values"] for entry in document["steps"][0]["quantities"]}
    assert_allclose(values["new_W1"], [[0.149780716, 0.24975114], [0.19956143, 0.29950229]], atol=6e-9)


def test_a_fresh_exercise_has_round_numbers_and_follows_its_seed(run):
    first, again, other = (run("--sizes", "2,2,1", "--seed", seed).stdout for seed in (7, 7, 8))
    assert first == again != other
    blank = run("--sizes", "2,2,1", "--seed", 7, "--format", "markdown", "--blank").stdout
    numbers = re.findall(r"-?\d+\.\d+", blank.split("### forward")[0].split("### given")[1])
    assert len(numbers) == 12
    assert all(len(number.partition(".")[2]) <= 2 for number in numbers)
    assert re.search(r"\| \$\\partial L/\\partial W\^\{\(1\)\}\$ \|.*\|  \|", blank)


@pytest.mark.parametrize("loss", formulas.LOSSES)
def test_an_exercise_for_every_loss(loss):
    net, X, y = exercise([3, 4, 2], "tanh", None, loss, rows=4, seed=3)
    trace = net.trace(X, y, optimizer="sgd")
    assert trace.steps[0].loss > 0
    assert net.dtype == np.float64


@pytest.mark.parametrize("suffix", ["txt", "md", "html", "json", "py"])
def test_a_file_by_its_name(run, tmp_path, suffix):
    run("--sizes", "2,3,1", "--output", f"step.{suffix}")
    text = (tmp_path / f"step.{suffix}").read_text(encoding="utf-8")
    start = {"txt": "2-3-1", "md": "# 2-3-1", "html": "<!DOCTYPE", "json": "{", "py": '"""Training'}[suffix]
    assert text.startswith(start)
    assert "already exists" in run("--sizes", "2,3,1", "--output", f"step.{suffix}", status=2).output


def test_a_saved_model_on_its_data(run, tmp_path):
    net = mlp.MLP([64, 5, 10], seed=1, input_scale=1 / 16)
    net.save("digits.safetensors")
    document = json.loads(
        run("digits.safetensors", "digits", "--rows", 3, "--optimizer", "adam", "--format", "json").stdout
    )
    shapes = {entry["name"]: entry["shape"] for entry in document["steps"][0]["quantities"]}
    assert (shapes["a0"], shapes["dW1"], shapes["t"]) == ([3, 64], [64, 5], [3, 10])
    assert document["steps"][0]["constants"]["η"] == 0.001


def test_the_optimizer_is_that_of_the_run(run):
    trained = ["train", "moons", "--epochs", "2", "--optimizer", "rmsprop", "--lr", "0.03", "--quiet"]
    assert CliRunner().invoke(cli, [*trained, "--output-dir", "moons"]).exit_code == 0
    traced = json.loads(run("moons", "moons", "--format", "json").stdout)
    assert (traced["optimizer"]["name"], traced["steps"][0]["constants"]["η"]) == ("rmsprop", 0.03)
    other_rate = json.loads(run("moons", "moons", "--format", "json", "--lr", 0.5).stdout)
    assert (other_rate["optimizer"]["name"], other_rate["steps"][0]["constants"]["η"]) == ("rmsprop", 0.5)
    other = json.loads(run("moons", "moons", "--format", "json", "--optimizer", "sgd").stdout)
    assert (other["optimizer"]["name"], other["steps"][0]["constants"]["η"]) == ("sgd", 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--sizes"),
        (("model.safetensors",), "MODEL needs DATA: name the data set or file to take rows from."),
        (("model.safetensors", "digits", "--seed", 1), "has its own network; remove --seed"),
        (("--example", "mazur", "--sizes", "2,2"), "has its own network and data; remove --sizes"),
        (("--sizes", "2,2", "--blank"), "--format markdown"),
        (("--sizes", "2,2", "--output", "step.pdf"), "must end in one of"),
    ],
)
def test_wrong_usage(run, arguments, message):
    assert message in run(*arguments, status=2).output


def test_a_model_and_data_that_do_not_fit(run):
    mlp.MLP([5, 2]).save("model.safetensors")
    result = run("model.safetensors", "digits", status=1)
    assert "its 64 columns must equal the network's 5 inputs" in result.stderr
    assert len(result.stderr.splitlines()) <= 2
