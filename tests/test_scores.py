"""Every figure that is shown of a model is recomputed from what ``mlp predict --proba`` writes for the test rows."""

from __future__ import annotations

import csv
import io
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import raw_tables
from click.testing import CliRunner
from sklearn import metrics

from mlp.cli import cli
from mlp.inspection.scores import class_scores, plainly

pytest.importorskip("polars")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: object) -> Any:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="mlp")
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def answered(
    folder: str, path: Path, *targets: str, proba: bool = True
) -> tuple[list[dict[str, str]], list[tuple[str, ...]]]:
    """What ``mlp predict`` answers for the test rows, and their targets in the file."""
    written = run("predict", folder, path, "--part", "test", *(["--proba"] if proba else [])).stdout
    answers = list(csv.DictReader(io.StringIO(written)))
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return answers, [tuple(rows[int(answer["row"])][name] for name in targets) for answer in answers]


def expected_classes(answers: list[dict[str, str]], target: list[str], labels: list[str]) -> dict[str, Any]:
    predicted = [answer["prediction"] for answer in answers]
    shares = np.array([[float(answer[f"p_{label}"]) for label in labels] for answer in answers])
    shares /= shares.sum(axis=1, keepdims=True)
    of = [labels[1]] if len(labels) == 2 else labels
    truth = np.array(target)
    scores = {
        "accuracy": metrics.accuracy_score(target, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(target, predicted),
        "macro_f1": metrics.f1_score(target, predicted, average="macro", zero_division=0),
        "roc_auc": np.mean([metrics.roc_auc_score(truth == k, shares[:, labels.index(k)]) for k in of]),
        "average_precision": np.mean(
            [metrics.average_precision_score(truth == k, shares[:, labels.index(k)]) for k in of]
        ),
        "log_loss": metrics.log_loss(target, shares, labels=labels),
    }
    counts = {label: target.count(label) for label in labels}
    most = max(labels, key=lambda label: counts[label])
    entropy = -sum(n / len(target) * np.log(n / len(target)) for n in counts.values() if n)
    f1 = 2 * counts[most] / (len(target) + counts[most])
    baseline = {
        "answer": most, "accuracy": counts[most] / len(target), "balanced_accuracy": 1 / len(labels),
        "macro_f1": f1 / len(labels), "roc_auc": 0.5, "log_loss": entropy,
        "average_precision": np.mean([counts[k] / len(target) for k in of]),
    }  # fmt: skip
    never = [{"class": label, "rows": n} for label, n in counts.items() if n and label not in predicted]
    return scores | {"baseline": baseline, "never_answered": never}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, value in expected.items():
        if isinstance(value, dict):
            assert_same(found[name], value)
        elif isinstance(value, float | np.floating):
            assert found[name] == pytest.approx(value, rel=2e-5), name
        else:
            assert found[name] == value, name


def class_texts(expected: dict[str, Any], labels: list[str]) -> list[list[str]]:
    """The cells of the table in the terminal and in the report."""
    of = f" of {labels[1]}" if len(labels) == 2 else ""
    mean = "mean " if len(labels) > 2 else ""
    names = {
        "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1",
        "roc_auc": f"{mean}ROC-AUC", "average_precision": f"{mean}average precision{of}", "log_loss": "log-loss",
    }  # fmt: skip

    def text(name: str, value: float) -> str:
        return f"{100 * value:.2f} %" if "accuracy" in name else f"{value:.4f}"

    return [
        [shown, text(name, expected[name]), text(name, expected["baseline"][name])] for name, shown in names.items()
    ]


def assert_table(output: str, rows: list[list[str]]) -> None:
    lines = [line.strip() for line in output.splitlines()]
    for row in rows:
        assert any(re.split(r"\s{2,}", line) == row for line in lines), (row, output)


def assert_report(folder: str, rows: list[list[str]]) -> None:
    pytest.importorskip("matplotlib")
    run("report", folder)
    page = Path(folder, "report.html").read_text(encoding="utf-8")
    shown = [
        [unescape(re.sub("<[^>]+>", "", cell)) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    ]
    for row in rows:
        assert [row[0].replace("R^2", "R²"), *row[1:]] in shown, row


@pytest.mark.parametrize("epochs", [2, 40])
def test_two_classes(epochs: int) -> None:
    path = raw_tables.churn(Path("churn.csv"))
    options = "--epochs", epochs, "--backend", "numpy", "--validation", 0, "--output-dir", "run"
    trained = run("train", path, "--target", "Churn", *options)
    answers, targets = answered("run", path, "Churn")
    expected = expected_classes(answers, [target for (target,) in targets], ["No", "Yes"])
    assert_same(json.loads(Path("run/results.json").read_text())["test"], expected)
    evaluated = run("evaluate", "run", path)
    assert_same(json.loads(run("evaluate", "run", path, "--json").stdout), expected)
    texts = class_texts(expected, ["No", "Yes"])
    assert_table(trained.stdout, texts)
    assert_table(evaluated.stdout, texts + by_class(answers, targets, ["No", "Yes"]))
    assert_report("run", texts + by_class(answers, targets, ["No", "Yes"]))
    warning = "Yes is never answered, although it is the class of 14 rows"
    shown = [warning in " ".join(text.split()) for text in (trained.stdout, Path("run/report.html").read_text())]
    assert shown == [bool(expected["never_answered"])] * 2 == [epochs == 2] * 2


def test_three_classes() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    kind = np.array(["low", "middle", "high"])[np.digitize(x[:, 0] + 0.5 * rng.normal(size=400), [-1, 0.5])]
    rows = ["a,b,kind", *(f"{a},{b},{k}" for (a, b), k in zip(x, kind, strict=True))]
    Path("three.csv").write_text("\n".join(rows) + "\n")
    trained = run("train", "three.csv", "--target", "kind", "--epochs", 5, "--backend", "numpy", "--output-dir", "run")
    answers, targets = answered("run", Path("three.csv"), "kind")
    labels = ["high", "low", "middle"]
    expected = expected_classes(answers, [target for (target,) in targets], labels)
    assert_same(json.loads(Path("run/results.json").read_text())["test"], expected)
    texts = class_texts(expected, labels)
    assert_table(trained.stdout, texts)
    assert_report("run", texts + by_class(answers, targets, labels))
    evaluated = json.loads(run("evaluate", "run", "three.csv", "--json").stdout)
    assert_same(evaluated, expected)
    predicted = [answer["prediction"] for answer in answers]
    assert (
        evaluated["confusion"] == metrics.confusion_matrix([t for (t,) in targets], predicted, labels=labels).tolist()
    )
    evaluated = run("evaluate", "run", "three.csv").stdout
    assert_table(evaluated, texts)
    assert_table(evaluated, by_class(answers, targets, labels))
    assert f"accuracy {100 * expected['accuracy']:.2f}%, loss {expected['log_loss']:.4f}, 80 rows" in trained.stdout


def by_class(answers: list[dict[str, str]], targets: list[tuple[str, ...]], labels: list[str]) -> list[list[str]]:
    """The cells of the table of the classes."""
    predicted, truth = [answer["prediction"] for answer in answers], [target for (target,) in targets]
    *figures, support = metrics.precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0)
    columns = [[f"{value:.4f}" for value in values] for values in figures]
    return [list(row) for row in zip(labels, map(str, support), *columns, strict=True)]


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_one_output_has_the_scores_of_two(loss: str) -> None:
    path = raw_tables.titanic(Path("titanic.csv"))
    run(
        "train",
        path,
        "--target",
        "Survived",
        "--loss",
        loss,
        "--epochs",
        3,
        "--backend",
        "numpy",
        "--output-dir",
        "run",
    )
    answers, targets = answered("run", path, "Survived")
    expected = expected_classes(answers, [target for (target,) in targets], ["0", "1"])
    expected["baseline"]["answer"] = int(expected["baseline"]["answer"])
    assert_same(json.loads(Path("run/results.json").read_text())["test"], expected)


def test_numbers_are_scored_in_their_unit() -> None:
    path = raw_tables.houses(Path("houses.csv"))
    trained = run("train", path, "--target", "SalePrice", "--epochs", 9, "--backend", "numpy", "--output-dir", "run")
    answers, targets = answered("run", path, "SalePrice", proba=False)
    actual, predicted = np.array(targets, float)[:, 0], np.array([float(answer["prediction"]) for answer in answers])
    mean = np.full_like(actual, actual.mean())
    errors = {
        "r2": [metrics.r2_score(actual, predicted)],
        "rmse": [metrics.root_mean_squared_error(actual, predicted)],
        "mae": [metrics.mean_absolute_error(actual, predicted)],
    }
    baseline = {"rmse": [actual.std()], "mae": [np.abs(actual - mean).mean()], "answer": [actual.mean()]}
    for found in (
        json.loads(Path("run/results.json").read_text())["test"],
        json.loads(run("evaluate", "run", path, "--json").stdout),
    ):
        for name, value in errors.items():
            assert found[name] == pytest.approx(value, rel=1e-5)
        for name, value in baseline.items():
            assert found["baseline"][name] == pytest.approx(value, rel=1e-5)
        assert found["baseline"]["r2"] == pytest.approx([0], abs=1e-12)
        assert found["score"] == pytest.approx(errors["r2"][0], rel=1e-5)
    texts = [
        ["R^2", f"{errors['r2'][0]:.4f}", "0.0000"],
        ["RMSE", f"{errors['rmse'][0]:,.0f}", f"{actual.std():,.0f}"],
        ["MAE", f"{errors['mae'][0]:,.0f}", f"{baseline['mae'][0]:,.0f}"],
    ]
    assert_table(trained.stdout, texts)
    assert_report("run", texts)
    assert f"always {actual.mean():,.0f}" in trained.stdout


def test_each_of_several_targets_is_scored() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 2))
    rows = ["a,b,width,height", *(f"{a},{b},{a + b},{1000 * a}" for a, b in x)]
    Path("boxes.csv").write_text("\n".join(rows) + "\n")
    trained = run("train", "boxes.csv", "--target", "width,height", "--epochs", 5, "--backend", "numpy",
                  "--output-dir", "run")  # fmt: skip
    answers, targets = answered("run", Path("boxes.csv"), "width", "height", proba=False)
    actual = np.array(targets, float)
    predicted = np.array([[float(a["prediction_width"]), float(a["prediction_height"])] for a in answers])
    error, mean = np.abs(actual - predicted), actual.mean(axis=0)
    expected = {
        "r2": metrics.r2_score(actual, predicted, multioutput="raw_values"),
        "rmse": np.sqrt(np.square(error).mean(axis=0)),
        "mae": error.mean(axis=0),
    }
    baseline = {"r2": np.zeros(2), "rmse": actual.std(axis=0), "mae": np.abs(actual - mean).mean(axis=0)}
    for found in (
        json.loads(Path("run/results.json").read_text())["test"],
        json.loads(run("evaluate", "run", "boxes.csv", "--json").stdout),
    ):
        for name in expected:
            assert found[name] == pytest.approx(expected[name], rel=1e-5), name
            assert found["baseline"][name] == pytest.approx(baseline[name], rel=1e-5, abs=1e-12), name
        assert found["baseline"]["answer"] == pytest.approx(mean, rel=1e-5)
        assert found["score"] == pytest.approx(metrics.r2_score(actual, predicted), rel=1e-5)
    texts = [
        [f"{shown} of {target}", text(expected[name][k]), text(baseline[name][k])]
        for k, target in enumerate(("width", "height"))
        for name, shown, text in (("r2", "R^2", "{:.4f}".format), ("rmse", "RMSE", plainly), ("mae", "MAE", plainly))
    ]
    assert_table(trained.stdout, texts)
    assert_table(run("evaluate", "run", "boxes.csv").stdout, texts)
    assert_report("run", texts)
    median = np.median(error, axis=0)
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert "".join(f"<td>{plainly(value)}</td>" for value in median) in page


def test_scores_that_do_not_exist_are_none() -> None:
    outputs = np.array([[0.2, 0.8], [0.6, 0.4]])
    one_class = class_scores(np.array([1, 1]), np.array([1, 0]), outputs, probabilities=True)
    assert (one_class["roc_auc"], one_class["average_precision"]) == (None, None)
    assert one_class["log_loss"] == pytest.approx(-np.log([0.8, 0.4]).mean())
    no_probabilities = class_scores(np.array([0, 1]), np.array([1, 0]), outputs * 7, probabilities=False)
    assert no_probabilities["log_loss"] is None
    assert no_probabilities["roc_auc"] == 0.0


def test_a_run_without_test_rows_has_no_scores() -> None:
    path = raw_tables.churn(Path("churn.csv"), 60)
    run("train", path, "--target", "Churn", "--test-fraction", 0, "--epochs", 1, "--output-dir", "run")
    assert json.loads(Path("run/results.json").read_text())["test"] is None


def test_a_threshold_changes_the_answers_and_their_scores() -> None:
    path = raw_tables.churn(Path("churn.csv"))
    run("train", path, "--target", "Churn", "--epochs", 20, "--output-dir", "run")
    answers, targets = answered("run", path, "Churn")
    above = run("predict", "run", path, "--part", "test", "--threshold", 0.1).stdout
    predicted = [answer["prediction"] for answer in csv.DictReader(io.StringIO(above))]
    assert predicted == ["Yes" if float(answer["p_Yes"]) >= 0.1 else "No" for answer in answers]
    assert predicted != [answer["prediction"] for answer in answers]
    document = json.loads(run("evaluate", "run", path, "--threshold", 0.1, "--json").stdout)
    truth = [target for (target,) in targets]
    assert document["score"] == document["accuracy"] == metrics.accuracy_score(truth, predicted)
    assert document["macro_f1"] == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))
    assert document["confusion"] == metrics.confusion_matrix(truth, predicted).tolist()
    raw_tables.houses(Path("houses.csv"), 60)
    run("train", "houses.csv", "--target", "SalePrice", "--epochs", 1, "--output-dir", "numbers")
    for command in ("predict", "evaluate"):
        arguments = [command, "numbers", "houses.csv", "--threshold", "0.5"]
        result = CliRunner().invoke(cli, arguments, prog_name="mlp")
        assert "a threshold needs the probabilities of two classes" in result.stderr


def test_balanced_classes_weigh_the_same() -> None:
    import mlp

    path = raw_tables.churn(Path("churn.csv"))
    run("train", path, "--target", "Churn", "--epochs", 3, "--backend", "numpy", "--class-weight", "balanced",
        "--validation", 0, "--output-dir", "run")  # fmt: skip
    trained = mlp.load("run/model.safetensors", backend="numpy")
    data = mlp.data.load(path, target="Churn")
    weight = len(data.y) / (2 * np.bincount(data.y)[data.y])
    net = mlp.MLP(list(trained.sizes), init="glorot_uniform", seed=0, backend="numpy")
    net.fit(data.X, data.y, epochs=3, optimizer=mlp.Adam(0.001), sample_weight=weight)
    for ours, theirs in zip(trained.weights, net.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    run("train", "--resume", "run", "--epochs", 4, "--output-dir", "resumed")
    net.fit(data.X, data.y, epochs=4, sample_weight=weight, resume=True)
    np.testing.assert_array_equal(mlp.load("resumed/model.safetensors").weights[0], net.weights[0])
    assert_report("resumed", [])
    assert "--class-weight balanced" in Path("resumed/report.html").read_text()
    raw_tables.houses(Path("houses.csv"), 60)
    for arguments, message in (
        (["houses.csv", "--target", "SalePrice", "--class-weight", "balanced"], "the targets are numbers"),
        ([str(path), "--target", "Churn", "--class-weight", "equal"], "unknown class weight 'equal'"),
    ):
        result = CliRunner().invoke(cli, ["train", *arguments], prog_name="mlp")
        assert result.exit_code == 2
        assert message in result.stderr


def test_the_curves_are_those_of_the_probabilities() -> None:
    pytest.importorskip("matplotlib")
    import mlp
    from mlp.inspection.class_predictions import ClassPredictions
    from mlp.inspection.plots.probabilities import probability_curves

    path = raw_tables.churn(Path("churn.csv"))
    run("train", path, "--target", "Churn", "--epochs", 9, "--output-dir", "run")
    answers, targets = answered("run", path, "Churn")
    truth = np.array([target == "Yes" for (target,) in targets])
    probability = np.array([float(answer["p_Yes"]) for answer in answers])
    data = mlp.data.load(path, target="Churn")
    net = mlp.load("run/model.safetensors", backend="numpy")
    roc, precision, calibration = probability_curves(ClassPredictions.of(net, data.X_test, data.y_test)).axes
    x, y = roc.lines[0].get_data()
    assert metrics.auc(x, y) == pytest.approx(metrics.roc_auc_score(truth, probability))
    recall, values = precision.lines[0].get_data()
    area = -np.sum(np.diff(recall) * np.asarray(values)[:-1])
    assert area == pytest.approx(metrics.average_precision_score(truth, probability))
    mean, share = calibration.lines[1].get_data()
    order = np.argsort(probability, kind="stable")
    first = order[: len(order) // len(mean)]  # the rows of the lowest probabilities
    assert mean[0] == pytest.approx(probability[first].mean(), abs=2e-3)
    assert share[0] == pytest.approx(truth[first].mean(), abs=0.05)
    assert (np.diff(mean) > 0).all()
    three = ClassPredictions(["a", "b", "c"], np.array([0, 1, 2, 0]), np.array([0, 1, 1, 0]), np.eye(3)[[0, 1, 1, 0]])
    assert len(probability_curves(three).axes[0].lines) == 4


def test_the_importance_of_a_column_is_what_the_score_loses_without_it() -> None:
    import mlp
    from mlp.inspection.column_importance import column_importance

    rng = np.random.default_rng(0)
    n = 400
    city = rng.choice(["a", "b", "c"], n)
    days = np.array(["2024-01-01"], "datetime64[D]") + rng.integers(0, 300, n)
    noise = rng.normal(size=n)
    y = np.where(city == "a", 2.0, -1.0)
    rows = [
        "city,day,noise,y",
        *(f"{c},{d},{z},{t}.5" for c, d, z, t in zip(city, days, noise, y.astype(int), strict=True)),
    ]
    Path("a.csv").write_text("\n".join(rows) + "\n")
    data = mlp.data.load("a.csv", target="y", task="regression")
    net = mlp.MLP([data.n_inputs, 1], loss="mse", preprocessing=data.preprocessing, dtype="float64")
    weights = np.zeros((data.n_inputs, 1))
    weights[data.feature_names.index("city=a")] = 4.0
    net.weights, net.biases = [weights], [np.array([-1.5])]
    assert net.score(data.X_test, data.y_test) == 1
    found = {
        name: (mean, spread)
        for name, mean, spread in column_importance(net, data.preprocessing, data.X_test, data.y_test)
    }
    assert next(iter(found)) == "city"
    assert set(found) == {"city", "day", "noise"}
    assert found["day"] == found["noise"] == (0, 0)
    # if p is independent of t and has the same distribution, E(t - p)^2 is twice the variance: R^2 falls from 1 to -1
    assert found["city"][0] == pytest.approx(2, abs=0.3)


def test_the_report_shows_the_importance_of_the_columns() -> None:
    raw_tables.houses(Path("houses.csv"))
    run("train", "houses.csv", "--target", "SalePrice", "--epochs", 30, "--output-dir", "run")
    assert_report("run", [])
    page = Path("run/report.html").read_text(encoding="utf-8")
    table = page[page.index("<caption>Permutation importance</caption>") :]
    assert re.findall(r"<th scope=.row.><span>(.*?)</span>", table)[0] == "area"
