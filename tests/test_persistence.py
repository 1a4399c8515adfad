"""Saved models and training states: exact and complete; damaged files are rejected with a reason."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import model_bytes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlp
from mlp import persistence
from mlp.data import Preprocessing
from mlp.io import atomic_write, model_format
from mlp.io import model_files as files

ROOT = Path(__file__).parent.parent
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 4)), RNG.integers(0, 3, 40)


def small_net(**settings: Any) -> mlp.MLP:
    return mlp.MLP([4, 5, 3], **{"backend": "numpy", **settings})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.safetensors"


def rewrite(path: Path, *, tensors: dict[str, Any] | None = None, **changes: Any) -> None:
    """Change the tensors or the metadata of a saved model, with the right checksum."""
    small_net().save(path)
    description, held = model_bytes.parts(path.read_bytes())
    config = changes.pop("config", {})
    description = description | changes | {"config": description["config"] | config}
    held = {name: array for name, array in (held | (tensors or {})).items() if array is not None}
    path.write_bytes(model_bytes.of(description, held))


# -- round trips ---------------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example overwrites the file
@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    activation=st.sampled_from(["relu", "tanh", "sigmoid", "gelu", "elu"]),
    kind=st.sampled_from(
        [("auto", "mse"), ("sigmoid", "quadratic"), ("auto", "binary_cross_entropy"), ("auto", "huber")]
    ),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 2**64 - 1),
)
def test_any_network_comes_back_bit_for_bit(
    path: Path, sizes: list[int], activation: str, kind: tuple[str, str], dtype: str, seed: int
) -> None:
    net = mlp.MLP(sizes, activation, *kind, dtype=dtype, seed=seed, backend="numpy", l2=0.1)
    net.save(path)
    back = mlp.load(path, backend="numpy")
    rows = np.linspace(-2, 2, 7 * sizes[0]).reshape(7, -1)
    assert back.get_config() == net.get_config()
    assert all(np.array_equal(a, b) for a, b in zip(back.weights + back.biases, net.weights + net.biases, strict=True))
    np.testing.assert_array_equal(back.feedforward(rows), net.feedforward(rows))


def test_what_the_model_knows_beside_its_weights_comes_back(path: Path) -> None:
    preprocessing = Preprocessing.fit({"age": np.array([1.0, 2.0]), "city": np.array(["Oslo", "Bergen"])})
    net = mlp.MLP(
        [3, 2], loss="quadratic", classes=["no", "yes"], preprocessing=preprocessing, input_scale=0.5, backend="numpy"
    )
    net.fit(RNG.normal(size=(10, 3)), np.arange(10) % 2, epochs=1)
    net.save(path)
    back = mlp.load(path)
    assert (back.task, back.classes, back.input_scale) == ("classes", ("no", "yes"), 0.5)
    assert back.preprocessing == preprocessing


def test_preprocessing_has_to_fit_the_inputs() -> None:
    with pytest.raises(mlp.ConfigurationError, match="gives 2 columns, but the network has 4 inputs"):
        small_net(preprocessing=Preprocessing.fit(np.eye(2)))


def test_a_file_is_read_on_another_backend_than_it_was_written_on(path: Path, backend: str) -> None:
    net = small_net()
    net.save(path)
    back = mlp.load(path, backend=backend)
    assert back.backend == backend
    np.testing.assert_allclose(back.feedforward(X), net.feedforward(X), rtol=1e-5)


@pytest.mark.parametrize(
    "disorder", [np.asfortranarray, lambda a: np.repeat(a, 2, axis=1)[:, ::2], lambda a: a.T.copy().T]
)
def test_arrays_that_do_not_lie_in_order_are_written_in_order(disorder: Any) -> None:
    array = np.arange(12.0).reshape(3, 4)
    described = files.describe(small_net())
    data = b"".join(model_format.to_chunks(described, {"layers.0.weight": disorder(array)}))
    np.testing.assert_array_equal(safetensors.numpy.load(data)["layers.0.weight"], array)


@pytest.mark.parametrize("options", [{}, {"dtype": "float64"}, {"classes": ['"', "ä\\", "\n\u2028😀"]}])
@pytest.mark.parametrize("trained", [False, True])
def test_a_file_has_the_bytes_that_the_safetensors_library_writes(
    options: dict[str, Any], trained: bool, path: Path
) -> None:
    net = small_net(**options)
    if (
        trained
    ):  # a training that was stopped within an epoch has a float64 tensor in any case, and SGD has an empty one
        net.fit(X, Y, batch_size=2, optimizer="sgd", callbacks=[Stop()])
        assert net.training_state.batches_done == 1
        persistence.save_training_state(net, path)
    else:
        net.save(path)
    with safetensors.safe_open(path, framework="np") as handle:
        metadata = handle.metadata()
    assert path.read_bytes() == safetensors.numpy.save(safetensors.numpy.load_file(path), metadata)


class Stop(mlp.Callback):
    def on_batch_end(self, run: Any, batch: int, loss: float) -> None:
        run.stop()


def test_the_tensors_have_the_names_and_shapes_that_are_promised(path: Path) -> None:
    net = small_net()
    net.save(path)
    tensors = safetensors.numpy.load_file(path)
    assert {name: array.shape for name, array in tensors.items()} == {
        "layers.0.weight": (4, 5), "layers.0.bias": (5,), "layers.1.weight": (5, 3), "layers.1.bias": (3,)
    }  # fmt: skip
    np.testing.assert_array_equal(tensors["layers.1.weight"], net.weights[1])


# -- user-defined functions -----------------------------------------------------------------------------

SQUARE = mlp.custom_activation("square", lambda xp, z: z * z, lambda xp, z: 2 * z)
CUBIC = mlp.custom_loss("cubic", lambda xp, y, t: xp.abs(y - t) ** 3, lambda xp, y, t: 3 * (y - t) * xp.abs(y - t))


def test_own_functions_are_handed_over_by_name(path: Path) -> None:
    net = mlp.MLP([4, 5, 1], SQUARE, loss=CUBIC, backend="numpy")
    net.save(path)
    back = mlp.load(path, custom={"square": SQUARE, "cubic": CUBIC})
    np.testing.assert_array_equal(back.feedforward(X), net.feedforward(X))


@pytest.mark.parametrize("missing", ["square", "cubic"])
def test_a_function_that_was_not_handed_over_is_named(path: Path, missing: str) -> None:
    mlp.MLP([4, 5, 1], SQUARE, loss=CUBIC, backend="numpy").save(path)
    custom = {"square": SQUARE, "cubic": CUBIC}
    del custom[missing]
    with pytest.raises(mlp.ConfigurationError, match=rf"custom={{'{missing}': mlp.custom_"):
        mlp.load(path, custom=custom)


def test_what_is_handed_over_has_to_be_what_it_is_called(path: Path) -> None:
    small_net().save(path)
    with pytest.raises(
        mlp.ConfigurationError, match=r"custom\['other'\] is .* expected the result of mlp.custom_activation"
    ):
        mlp.load(path, custom={"other": SQUARE})


# -- foreign, incomplete and damaged files ---------------------------------------------------------------


def test_the_file_of_another_program_is_refused(path: Path) -> None:
    safetensors.numpy.save_file({"w": np.eye(2)}, path, metadata={"format": "pt"})
    with pytest.raises(mlp.FileFormatError, match="safetensors file of another program"):
        mlp.load(path)


def test_a_file_that_is_missing_empty_or_a_folder_is_named(tmp_path: Path, path: Path) -> None:
    with pytest.raises(mlp.FileFormatError, match="there is no file"):
        mlp.load(path)
    with pytest.raises(mlp.FileFormatError, match="is a folder"):
        mlp.load(tmp_path)
    path.touch()
    with pytest.raises(mlp.FileFormatError, match="is empty"):
        mlp.load(path)


def test_no_truncation_is_overlooked(path: Path) -> None:
    small_net().save(path)
    whole = path.read_bytes()
    for size in range(1, len(whole), 13):
        path.write_bytes(whole[:size])
        with pytest.raises(mlp.FileFormatError, match="is damaged"):
            mlp.load(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(position=st.integers(0, 2000), value=st.integers(0, 255))
def test_a_flipped_byte_gives_a_network_or_a_typed_error(path: Path, position: int, value: int) -> None:
    small_net().save(path)
    data = bytearray(path.read_bytes())
    data[position % len(data)] = value
    path.write_bytes(data)
    # errors of the file format, or of a changed name that now looks user-defined; no other error is allowed
    with contextlib.suppress(mlp.FileFormatError, mlp.ConfigurationError):
        mlp.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 4}, "has format version 4, written by mlp .*; use the version of mlp that wrote it"),
        ({"tensors": {"layers.1.bias": None}}, "'layers.1.bias', which is missing"),
        ({"tensors": {"layers.2.bias": np.zeros(3, np.float32)}}, "has no tensor 'layers.2.bias'"),
        ({"tensors": {"layers.0.bias": np.zeros(4, np.float32)}}, r"has shape \(4,\), but must have \(5,\)"),
        ({"tensors": {"layers.0.bias": np.zeros(5)}}, "is float64, but must be float32"),
        ({"tensors": {"layers.0.bias": np.full(5, np.nan, np.float32)}}, "layers.0.bias contains NaN"),
        ({"config": {"sizes": [4, -5, 3]}}, r"config.sizes\[1\] is -5, expected a whole number of at least 1"),
        ({"config": {"sizes": [10**9] * 3}}, "but must have"),
        ({"config": {"sizes": [10**9] * 4}}, r"config.activation has 1 entries, but 3 layers need 2"),
        ({"config": {"dropout": 7}}, "config.dropout is 7, expected a list"),
        ({"config": {"dropout": [1.0]}}, "its configuration is invalid .*dropout must be"),
        ({"config": {"l2": 10**400}}, "config.l2 is 1000.*, expected a number of at least 0"),
        ({"config": {"input_scale": float("nan")}}, "config.input_scale is nan, expected a number above 0, or null"),
        ({"config": {"classes": [["a"], "b", "c"]}}, r"config.classes\[0\] is \['a'\], expected a string, a number"),
        ({"config": {"colour": "red"}}, "config has the unknown field 'colour'"),
        ({"config": {"activation": None}}, "config.activation is None, expected a list"),
        ({"preprocessing": {"scale": "other"}}, "preprocessing has the keys"),
    ],
)
def test_a_damaged_file_is_refused_with_what_is_wrong(path: Path, change: dict[str, Any], message: str) -> None:
    rewrite(path, **change)
    with pytest.raises(mlp.FileFormatError, match=message):
        mlp.load(path)


def test_classes_that_json_does_not_know_are_refused_before_anything_is_written(path: Path) -> None:
    with pytest.raises(mlp.ConfigurationError, match=r"classes contains \(1, 2\) of type tuple"):
        small_net(classes=[(1, 2), (3, 4), (5, 6)]).save(path)
    assert not path.exists()


# -- resumed training -----------------------------------------------------------------------------------

OPTIMIZERS = [
    mlp.SGD(0.1),
    mlp.SGD(mlp.schedules.ReduceOnPlateau(0.1, patience=1), momentum=0.9, nesterov=True),
    mlp.Adam(mlp.schedules.Cosine(0.01, epochs=6), weight_decay=0.1),
    mlp.RMSprop(),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_three_epochs_and_three_more_are_six(path: Path, optimizer: mlp.Optimizer, dtype: str) -> None:
    settings = {"batch_size": 8, "validation_fraction": 0.2, "early_stopping": mlp.EarlyStopping(patience=50)}
    whole = small_net(dropout=0.2, dtype=dtype)
    whole.fit(X, Y, epochs=6, optimizer=optimizer, **settings)

    half = small_net(dropout=0.2, dtype=dtype)
    half.fit(
        X,
        Y,
        epochs=3,
        optimizer=optimizer,
        callbacks=[lambda run: persistence.save_training_state(run.net, path)],
        **settings,
    )
    loaded = mlp.load(path, backend="numpy")
    given = small_net(dropout=0.2, dtype=dtype)
    persistence.load_training_state(given, path)
    for net in (loaded, given):
        net.fit(X, Y, epochs=6, resume=True, **settings)
        np.testing.assert_array_equal(net.xp.to_numpy(net.parameters), whole.xp.to_numpy(whole.parameters))
        np.testing.assert_array_equal(net.training_state.slots, whole.training_state.slots)
        assert net.history.val_loss == whole.history.val_loss


def test_a_training_of_format_version_1_has_its_epochs_counted_from_1(path: Path) -> None:
    net = mlp.load(ROOT / "tests" / "files" / "training-format-1.safetensors", backend="numpy")
    history = net.history
    assert len(history) == 19
    best = int(np.argmin(history.val_loss))
    assert history.best_epoch == best + 1 == 16
    assert history.stop_reason == "val_loss has not improved for 3 epochs; best was epoch 16"
    persistence.save_training_state(net, path)
    assert mlp.load(path, backend="numpy").history == history
    again = mlp.MLP(**net.get_config(), backend="numpy")
    persistence.load_training_state(again, ROOT / "tests" / "files" / "training-format-1.safetensors")
    assert again.history == history


def test_only_files_that_older_versions_would_misread_have_the_new_format_version(path: Path) -> None:
    net = small_net()
    net.fit(X, Y, epochs=1)
    for save, version in ((net.save, 1), (lambda path: persistence.save_training_state(net, path), 2)):
        save(path)
        with safetensors.safe_open(path, framework="np") as handle:
            assert json.loads(handle.metadata()["mlp"])["format_version"] == version


def test_a_training_is_not_given_to_another_network(path: Path) -> None:
    net = small_net()
    with pytest.raises(mlp.ConfigurationError, match="has not been trained"):
        persistence.save_training_state(net, path)
    net.fit(X, Y, epochs=1)
    persistence.save_training_state(net, path)
    with pytest.raises(mlp.ConfigurationError, match="training state of another network: its activation is"):
        persistence.load_training_state(small_net(activation="tanh"), path)
    net.save(path)
    with pytest.raises(mlp.FileFormatError, match="without training state"):
        persistence.load_training_state(net, path)


def test_a_damaged_training_is_refused(path: Path) -> None:
    rewrite(path, training={"optimizer": {"name": "adam"}}, tensors={"training.slots": np.zeros((2, 43), np.float32)})
    with pytest.raises(mlp.FileFormatError, match=r"metadata\.training lacks the field 'epoch'"):
        mlp.load(path)


# -- atomic writes ---------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_old_file_and_no_rubbish(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_net(seed=1).save(path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        mlp.StorageError, match=r"net.safetensors' cannot be written: No space left on device"
    ) as caught:
        small_net(seed=2).save(path)
    assert caught.value.errno == errno.ENOSPC
    assert isinstance(caught.value, OSError)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
def test_a_limit_of_the_system_leaves_the_old_file_too(path: Path) -> None:
    small_net().save(path)
    program = f"""
import resource, signal, mlp
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    mlp.MLP([100, 100, 10], backend="numpy").save({str(path)!r})
except mlp.StorageError as error:
    print(error)
"""
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "cannot be written: File too large" in output
    assert mlp.load(path).sizes == (4, 5, 3)
    assert os.listdir(path.parent) == [path.name]


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(mlp.StorageError, match="cannot be written: No such file"):
        small_net().save(tmp_path / "no" / "net.safetensors")
    with pytest.raises(mlp.StorageError, match="is a folder or a device"):
        small_net().save(tmp_path)
    with pytest.raises(mlp.StorageError, match="is a folder or a device"):
        small_net().save(os.devnull)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_stays_one(tmp_path: Path, path: Path) -> None:
    link = tmp_path / "latest"
    link.symlink_to(path)
    atomic_write.write_atomically(link, b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"


def test_new_files_obey_the_umask(path: Path) -> None:
    old = os.umask(0o027)
    try:
        small_net().save(path)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_at_any_moment_the_file_can_be_read(path: Path) -> None:
    program = f"""
import itertools, mlp
nets = [mlp.MLP([300, 300, 10], seed=seed, backend="numpy") for seed in (1, 2)]
print("ready", flush=True)
for net in itertools.cycle(nets):
    net.save({str(path)!r})
"""
    rng = np.random.default_rng(0)
    mlp.MLP([300, 300, 10], seed=1, backend="numpy").save(path)
    for _ in range(8):
        process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(float(rng.uniform(0.01, 0.1)))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert mlp.load(path, backend="numpy").seed in (1, 2)
