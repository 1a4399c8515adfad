"""The examples of a training and of its validation, from the arguments of `MLP.fit`."""

from __future__ import annotations

from typing import Any

from mlp._backends import ConfigurationError
from mlp.data.streams import RowStream
from mlp.network import Examples, FeedForward
from mlp.training.class_weights import with_class_weight
from mlp.training.streamed_examples import AnyExamples, StreamedExamples
from mlp.training.validation_split import check_validation_arguments, split_validation


def training_examples(
    net: FeedForward,
    X: Any,
    y: Any,
    *,
    sample_weight: Any,
    class_weight: Any,
    validation_data: Any,
    validation_fraction: float | None,
) -> tuple[AnyExamples, AnyExamples | None, bool]:
    """Return the training examples, the validation examples if there are any, and whether targets are class numbers.

    Parameters
    ----------
    net : FeedForward
    X, y, sample_weight, class_weight, validation_data, validation_fraction
        The arguments of `MLP.fit`.

    Raises
    ------
    ConfigurationError, DataError, ShapeError, DtypeError
        If an argument is invalid, or no training rows remain.
    """
    if isinstance(X, RowStream):
        require_stream_alone(y, sample_weight)
        check_validation_arguments(validation_data, validation_fraction)
        held_out: AnyExamples | None = None
        if validation_fraction is not None:
            X, chosen = X.split(validation_fraction, net.seed)
            held_out = StreamedExamples(net, chosen)
        elif validation_data is not None:
            held_out = validation_examples(net, validation_data)
        streamed = StreamedExamples(net, X, class_weight)
        return streamed, held_out, streamed.class_numbers
    examples, class_numbers = net.check_examples(X, y, sample_weight, require_two_classes=True)
    examples = with_class_weight(net, examples, class_weight)
    if validation_data is not None:
        check_validation_arguments(validation_data, validation_fraction)
        return examples, validation_examples(net, validation_data), class_numbers
    return *split_validation(net, examples, validation_fraction), class_numbers


def validation_examples(net: FeedForward, data: Any) -> AnyExamples:
    """The examples of the argument `validation_data`: a stream, or a tuple of arrays."""
    if isinstance(data, RowStream):
        return StreamedExamples(net, data)
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        raise ConfigurationError("validation_data must be a tuple (X, y) or (X, y, sample_weight), or a stream.")
    examples: Examples = net.check_examples(*data)[0]
    return examples


def on_device(net: FeedForward, examples: AnyExamples) -> AnyExamples:
    """The examples on the device of the network; those of a stream are brought there when they are read."""
    return net.on_device(examples) if isinstance(examples, Examples) else examples


def require_stream_alone(y: Any, sample_weight: Any) -> None:
    """Raise an error if there are targets or weights beside a stream.

    Raises
    ------
    ConfigurationError
    """
    if y is not None:
        raise ConfigurationError("a stream has its targets: give the stream alone, without y.")
    if sample_weight is not None:
        raise ConfigurationError(
            "sample_weight has a number for each row, which does not apply to a stream; class_weight does."
        )
