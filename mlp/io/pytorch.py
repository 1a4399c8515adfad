"""Convert networks from and to PyTorch, with the same predictions; training can continue.

Modules that this library does not support raise an error that names them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, DtypeError, ShapeError, formulas
from mlp.checks import counted
from mlp.configuration import LOSS_FOR, configure
from mlp.network import FeedForward

logger = logging.getLogger("mlp")

_TORCH_MODULES: tuple[tuple[str, str, dict[str, tuple[Any, ...]]], ...] = (
    ("sigmoid", "Sigmoid", {}),
    ("tanh", "Tanh", {}),
    ("relu", "ReLU", {}),
    ("leaky_relu", "LeakyReLU", {"negative_slope": (formulas.activations.LEAKY_SLOPE,)}),
    ("elu", "ELU", {"alpha": (1.0,)}),
    ("selu", "SELU", {}),
    ("gelu", "GELU", {"approximate": ("none",)}),
    ("gelu_tanh", "GELU", {"approximate": ("tanh",)}),
    ("silu", "SiLU", {}),
    ("mish", "Mish", {}),
    # above its threshold PyTorch returns z: off by 2e-9 at its default of 20, and by nothing at 40
    ("softplus", "Softplus", {"beta": (1.0,), "threshold": (40.0, 20.0)}),
    ("softmax", "Softmax", {"dim": (1, -1, None)}),
    ("softmax", "LogSoftmax", {"dim": (1, -1, None)}),
    ("exp", "Exp", {}),
    ("step", "Step", {}),
)
"""Name of an activation, class in PyTorch, and supported arguments; `to_torch` writes the first value of each."""

_COMMUTE_WITH_DROPOUT = ("relu", "leaky_relu")  # f(c z) = c f(z) for c >= 0


@dataclass
class _Layer:
    """One layer of the source, with the rate of the dropout after it."""

    W: NDArray[Any]
    b: NDArray[Any]
    activation: str | None = None
    dropout: float = 0.0


def from_torch(
    source: Any,
    *,
    activation: Any = None,
    output_activation: Any = "auto",
    loss: Any = None,
    backend: str = "auto",
    device: str = "auto",
    **settings: Any,
) -> FeedForward:
    """Convert a torch.nn.Sequential or a state_dict; see `mlp.from_torch`."""
    module_settings: dict[str, Any] = {}
    if isinstance(source, Mapping):
        layers = _read_state(source)
        if activation is None and len(layers) > 1:
            raise ConfigurationError(
                "a state_dict contains weights but not the activations: pass them, "
                "from_torch(state_dict, activation='relu'), as one name or one for each hidden layer."
            )
        module_output = None
    else:
        layers, module_settings = _read_module(source)
        if activation is not None:
            raise ConfigurationError(
                f"the module defines its activations, but activation={activation!r} was given; pass its state_dict() "
                "to use other activations."
            )
        activation = [layer.activation or "identity" for layer in layers[:-1]]
        module_output = layers[-1].activation
    if both := module_settings.keys() & settings.keys():
        raise ConfigurationError(f"the module defines {min(both)}, but {min(both)} was given too; omit it.")
    output, loss = _choose_output(module_output, output_activation, loss)
    configuration = configure(
        _chained_sizes(layers),
        "relu" if activation is None else activation,
        output,
        loss,
        dtype=_common_dtype(layers),
        **module_settings,
        **settings,
    )
    net = FeedForward(configuration, backend, device)
    net.weights, net.biases = [layer.W for layer in layers], [layer.b for layer in layers]
    return net


def to_torch(net: FeedForward, *, logits: bool = False) -> Any:
    """Convert a network to a torch.nn.Sequential; see `MLP.to_torch`."""
    torch = _torch()
    nn = torch.nn
    modules = []
    net = net.without_scaling_layer()
    if net.input_scale is not None:
        modules.append(_torch_class("ScaleBytes")(net.input_scale, getattr(torch, str(net.dtype))))
    weights, biases = net.weights, net.biases
    if net.target_scaling is not None:  # the output is the identity, so the last layer can include the scaling
        shift, scale = (np.array(values, dtype=net.dtype) for values in net.target_scaling)
        weights[-1], biases[-1] = weights[-1] * scale, biases[-1] * scale + shift
    output = formulas.ACTIVATIONS["identity"] if logits else net.kind.output
    activations = *net.plan.activations[:-1], output
    for activation, rate, W, b in zip(activations, net.plan.dropout, weights, biases, strict=True):
        if rate:
            modules.append(nn.Dropout(rate))
        linear = nn.Linear(*W.shape, device="meta")  # does not draw initial weights, which changes PyTorch's generator
        linear.weight, linear.bias = (nn.Parameter(torch.tensor(np.ascontiguousarray(array))) for array in (W.T, b))
        modules.append(linear)
        if activation.name != "identity":
            modules.append(_torch_activation(activation))
    if net.preprocessing is not None:
        logger.warning(
            "the module takes preprocessed inputs and does not include net.preprocessing: save it separately"
        )
    return nn.Sequential(*modules).eval()


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ConfigurationError(f"PyTorch is required but cannot be imported ({error}): pip install torch") from error
    return torch


def _torch_class(name: str) -> Any:
    from mlp.io import torch_modules

    return getattr(torch_modules, name, None) or getattr(_torch().nn, name)


def _torch_activation(activation: formulas.Activation) -> Any:
    for name, cls, arguments in _TORCH_MODULES:
        if name == activation.name:
            return _torch_class(cls)(**{key: supported[0] for key, supported in arguments.items()})
    raise ConfigurationError(
        f"activation {activation.name!r} is a custom function of xp, which PyTorch cannot run or differentiate; build "
        "the module by hand from net.weights (transposed) and net.biases."
    )


# -- reading PyTorch ------------------------------------------------------------------------------------


def _read_module(module: Any) -> tuple[list[_Layer], dict[str, Any]]:
    """The layers of a module, and the other arguments of `MLP` that it defines."""
    nn = _torch().nn
    if not isinstance(module, nn.Module):
        raise ConfigurationError(f"from_torch takes a torch.nn.Sequential or a state_dict, not {module!r:.80}.")
    layers: list[_Layer] = []
    linears: list[Any] = []
    input_dropout, settings = 0.0, {}
    for name, part in _leaves(module, nn):
        where = f"module {name!r}, {part!r:.100}," if name else f"the module {part!r:.100}"
        if type(part) is nn.Linear:
            if any(part.weight is linear.weight for linear in linears):
                raise ConfigurationError(f"{where} shares its weight with an earlier layer, which is not supported.")
            linears.append(part)
            layers.append(_read_linear(part, where))
        elif type(part) is nn.Dropout:
            previous = layers[-1].dropout if layers else input_dropout
            rate = 1 - (1 - previous) * (1 - part.p)  # a unit must survive both dropouts
            if layers:
                layers[-1].dropout = rate
            else:
                input_dropout = rate
        elif type(part) is nn.Flatten and part.start_dim == 1:
            continue  # rows are flat already
        elif type(part) is _torch_class("ScaleBytes") and not layers:
            settings["input_scale"] = part.scale
        elif type(part) is not nn.Identity:
            _add_activation(layers, _read_activation(part, where), where)
    if not layers:
        raise ConfigurationError("the module has no torch.nn.Linear: a network needs at least one.")
    for layer in layers[:-1]:
        if layer.activation is not None and formulas.activation(layer.activation).role == "output":
            raise ConfigurationError(f"the module has {layer.activation!r} in a hidden layer; it is for the output.")
    if layers[-1].dropout:
        raise ConfigurationError("the module has a Dropout after its last layer, which is not supported; remove it.")
    if input_dropout:
        settings["input_dropout"] = input_dropout
    if any(layer.dropout for layer in layers):
        settings["dropout"] = [layer.dropout for layer in layers[:-1]]
    return layers, settings


def _leaves(module: Any, nn: Any) -> Iterator[tuple[str, Any]]:
    """The names and modules of nested Sequentials, in the order in which they run."""
    for name, part in module.named_modules(remove_duplicate=False):  # a ReLU may be used several times
        if not (isinstance(part, nn.Sequential) and type(part).forward is nn.Sequential.forward):
            yield name, part


def _read_linear(linear: Any, where: str) -> _Layer:
    # weight norm and pruning masks have parameters of other names, from which the weight is computed in each pass
    if others := {name for name, _ in linear.named_parameters()} - {"weight", "bias"}:
        raise ConfigurationError(
            f"{where} computes its weight from {min(others)!r}; remove this parametrization, keeping the weight."
        )
    W = _as_array(f"the weight of {where}", linear.weight)
    if linear.bias is None:
        logger.warning("%s has no bias; the layer gets a bias of zeros, which training changes", where)
        return _Layer(W.T, np.zeros(len(W), W.dtype))
    return _Layer(W.T, _as_array(f"the bias of {where}", linear.bias))


def _read_activation(part: Any, where: str) -> str:
    """The name of an activation module of PyTorch."""
    message = ""
    for name, cls, arguments in _TORCH_MODULES:
        if type(part) is not _torch_class(cls):
            continue
        unsupported = [key for key, supported in arguments.items() if getattr(part, key) not in supported]
        if not unsupported:
            return name
        key = unsupported[0]
        message = (
            f"{where} has {key}={getattr(part, key)!r}, but {name!r} has {arguments[key][0]!r}. Define it with "
            "mlp.custom_activation, and pass module.state_dict() with activation=..."
        )
    known = ", ".join(dict.fromkeys(cls for _, cls, _ in _TORCH_MODULES if hasattr(_torch().nn, cls)))
    raise ConfigurationError(
        message
        or f"{where} is not supported. A multilayer perceptron is a stack of Linear, Dropout, Flatten, Identity, "
        f"{known}. For a module with a custom forward method, pass its state_dict() and activation=..."
    )


def _add_activation(layers: list[_Layer], name: str, where: str) -> None:
    if not layers:
        raise ConfigurationError(f"{where} is before the first Linear, where an activation is not supported.")
    layer = layers[-1]
    if layer.activation is not None:
        raise ConfigurationError(f"{where} follows another activation; a layer can have only one.")
    if layer.dropout and name not in _COMMUTE_WITH_DROPOUT:
        raise ConfigurationError(f"{where} follows a Dropout, but dropout must follow the activation. Swap the two.")
    layer.activation = name


def _read_state(state: Mapping[Any, Any]) -> list[_Layer]:
    matrices = [name for name, value in state.items() if len(getattr(value, "shape", ())) == 2]
    weights = _in_order([name for name in matrices if str(name).rpartition(".")[2] == "weight"])
    biases = [name.removesuffix("weight") + "bias" for name in weights]
    others = [name for name in state if name not in (*weights, *biases)]
    if others or not weights:
        shape = tuple(getattr(state[others[0]], "shape", ())) if others else ()
        content = f"contains {others[0]!r} of shape {shape}" if others else "is empty"
        raise ConfigurationError(
            f"the state_dict {content}; that of a multilayer perceptron contains a 'weight' of shape (n_out, n_in) and "
            "a 'bias' for each layer."
        )
    layers = []
    for weight, bias in zip(weights, biases, strict=True):
        W = _as_array(f"state_dict[{weight!r}]", state[weight])
        if bias in state:
            b = _as_array(f"state_dict[{bias!r}]", state[bias])
        else:
            logger.warning("the state_dict has no %r; the layer gets a bias of zeros, which training changes", bias)
            b = np.zeros(len(W), W.dtype)
        layers.append(_Layer(W.T, b))
    return layers


def _in_order(names: list[str]) -> list[str]:
    """Sort names that differ only in their numbers by these numbers; in files they are in string order, 10 before 2."""
    if len({re.sub(r"\d+", "#", name) for name in names}) > 1:
        return names
    return sorted(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])


def _as_array(where: str, tensor: Any) -> NDArray[Any]:
    dtype = str(getattr(tensor, "dtype", type(tensor).__name__)).removeprefix("torch.")
    if dtype not in ("float32", "float64"):
        raise DtypeError(
            f"{where} is {dtype}; it must be a tensor of float32 or float64 (convert with module.float())."
        )
    return np.array(tensor.numpy(force=True) if hasattr(tensor, "numpy") else tensor)


def _chained_sizes(layers: list[_Layer]) -> list[int]:
    for number, (layer, following) in enumerate(pairwise(layers), start=1):
        if layer.W.shape[1] != following.W.shape[0]:
            raise ShapeError(
                f"layer {number} has {counted(layer.W.shape[1], 'output')}, but layer {number + 1} has "
                f"{counted(following.W.shape[0], 'input')}: they must be equal. "
                "Check that the layers are in the order in which they run."
            )
    return [layers[0].W.shape[0], *(layer.W.shape[1] for layer in layers)]


def _common_dtype(layers: list[_Layer]) -> str:
    dtypes = sorted({str(array.dtype) for layer in layers for array in (layer.W, layer.b)})
    if len(dtypes) > 1:
        raise DtypeError("the weights are both float32 and float64: convert with module.float() or module.double().")
    return dtypes[0]


def _choose_output(module_output: str | None, argument: Any, loss: Any) -> tuple[Any, Any]:
    """The output activation and the loss, from those of the module and the arguments of `from_torch`."""
    if argument == "auto":
        output = module_output
    elif module_output is None or formulas.activation(argument).name == module_output:
        output = argument
    else:
        raise ConfigurationError(f"the module ends in {module_output!r}, but output_activation={argument!r} was given.")
    if loss is not None:
        return "auto" if output is None else output, loss
    if output is None:
        return "identity", "mse"
    return output, LOSS_FOR.get(formulas.activation(output).name, "mse")
