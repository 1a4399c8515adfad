"""Training: the loop over epochs, history, validation, early stopping, callbacks, and resuming."""

from mlp.network import CHUNK, Examples
from mlp.training.advice import advise_on_inputs, advise_on_length
from mlp.training.callbacks import Callback, Run, check_callbacks
from mlp.training.checkpoints import CheckpointWriter, Interval, check_checkpoint
from mlp.training.class_weights import with_class_weight
from mlp.training.early_stopping import EarlyStopping, check_early_stopping
from mlp.training.epochs import batch_size_for, execution, in_parts, train, trainer_for
from mlp.training.evaluation import evaluate, evaluate_rows, score
from mlp.training.examples import on_device, require_stream_alone, training_examples, validation_examples
from mlp.training.history import History
from mlp.training.interrupt import stop_on_ctrl_c
from mlp.training.label_smoothing import check_label_smoothing
from mlp.training.length import choose_epochs, default_epochs
from mlp.training.metrics import Metric, check_metrics
from mlp.training.parts import Part, Parts, complete
from mlp.training.progress import progress_bar
from mlp.training.state import TrainingState, require_resumable
from mlp.training.streamed_evaluation import evaluate_stream
from mlp.training.streamed_examples import AnyExamples, StreamedExamples
from mlp.training.validation_split import split_validation

__all__ = [
    "CHUNK",
    "AnyExamples",
    "Callback",
    "CheckpointWriter",
    "EarlyStopping",
    "Examples",
    "History",
    "Interval",
    "Metric",
    "Part",
    "Parts",
    "Run",
    "StreamedExamples",
    "TrainingState",
    "advise_on_inputs",
    "advise_on_length",
    "batch_size_for",
    "check_callbacks",
    "check_checkpoint",
    "check_early_stopping",
    "check_label_smoothing",
    "check_metrics",
    "choose_epochs",
    "complete",
    "default_epochs",
    "evaluate",
    "evaluate_rows",
    "evaluate_stream",
    "execution",
    "in_parts",
    "on_device",
    "progress_bar",
    "require_resumable",
    "require_stream_alone",
    "score",
    "split_validation",
    "stop_on_ctrl_c",
    "train",
    "trainer_for",
    "training_examples",
    "validation_examples",
    "with_class_weight",
]
