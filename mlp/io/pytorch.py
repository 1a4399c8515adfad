"""Networks from PyTorch and back: the same predictions, and training goes on.

What a network of ours cannot be is refused by name, and what it carries beside its weights goes along.
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
    # above its threshold PyTorch returns z: off by 2e-9 at its default of 20, and by nothing at 40
    ("softplus", "Softplus", {"beta": (1.0,), "threshold": (40.0, 20.0)}),
    ("softmax", "Softmax", {"dim": (1, -1, None)}),
    ("softmax", "LogSoftmax", {"dim": (1, -1, None)}),
    ("exp", "Exp", {}),
    ("step", "Step", {}),
)
"""Our name of an activation, PyTorch's class, and the arguments that make it ours; the first is what we write."""

_COMMUTE_WITH_DROPOUT = ("relu", "leaky_relu")  # f(c z) = c f(z) for c >= 0


@dataclass
class _Layer:
    """One layer as it is found, with the rate of the dropout that follows it."""

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
    """The network of a torch.nn.Sequential or of a state_dict; see `mlp.from_torch`."""
    own: dict[str, Any] = {}
    if isinstance(source, Mapping):
        layers = _read_state(source)
        if activation is None and len(layers) > 1:
            raise ConfigurationError(
                "a state_dict holds weights and does not tell what stands between them: name it, "
                "from_torch(state_dict, activation='relu'), with one name or one for each hidden layer."
            )
        own_output = None
    else:
        layers, own = _read_module(source)
        if activation is not None:
            raise ConfigurationError(
                f"the module has its own activations, and activation={activation!r} was given; pass its state_dict() "
                "to choose others."
            )
        activation = [layer.activation or "identity" for layer in layers[:-1]]
        own_output = layers[-1].activation
    if both := own.keys() & settings.keys():
        raise ConfigurationError(f"the module has its own {min(both)}, and {min(both)} was given as well.")
    output, cost = _settle_output(own_output, output_activation, loss)
    configuration = configure(
        _chained_sizes(layers),
        "relu" if activation is None else activation,
        output,
        cost,
        dtype=_common_dtype(layers),
        **own,
        **settings,
    )
    net = FeedForward(configuration, backend, device)
    net.weights, net.biases = [layer.W for layer in layers], [layer.b for layer in layers]
    return net


def to_torch(net: FeedForward, *, logits: bool = False) -> Any:
    """The network as a torch.nn.Sequential; see `MLP.to_torch`."""
    torch = _torch()
    nn = torch.nn
    modules = []
    if net.input_scale is not None:
        modules.append(_torch_class("ScaleBytes")(net.input_scale, getattr(torch, str(net.dtype))))
    weights, biases = net.weights, net.biases
    if net.target_scaling is not None:  # behind an identity output it is part of the last layer
        shift, scale = (np.array(part, dtype=net.dtype) for part in net.target_scaling)
        weights[-1], biases[-1] = weights[-1] * scale, biases[-1] * scale + shift
    output = formulas.ACTIVATIONS["identity"] if logits else net.kind.output
    rows = *net.plan.activations[:-1], output
    for row, rate, W, b in zip(rows, net.plan.dropout, weights, biases, strict=True):
        if rate:
            modules.append(nn.Dropout(rate))
        linear = nn.Linear(*W.shape, device="meta")  # initial weights would be drawn from the user's generator
        linear.weight, linear.bias = (nn.Parameter(torch.tensor(np.ascontiguousarray(part))) for part in (W.T, b))
        modules.append(linear)
        if row.name != "identity":
            modules.append(_torch_activation(row))
    if net.preprocessing is not None:
        logger.warning("the module takes rows that went through net.preprocessing: keep that beside it")
    return nn.Sequential(*modules).eval()


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ConfigurationError(f"PyTorch is needed and cannot be imported ({error}): pip install torch") from error
    return torch


def _torch_class(name: str) -> Any:
    from mlp.io import torch_modules

    return getattr(torch_modules, name, None) or getattr(_torch().nn, name)


def _torch_activation(row: formulas.Activation) -> Any:
    for name, cls, arguments in _TORCH_MODULES:
        if name == row.name:
            return _torch_class(cls)(**{key: accepted[0] for key, accepted in arguments.items()})
    raise ConfigurationError(
        f"activation {row.name!r} is a function of your own of xp, which PyTorch cannot run or differentiate; build "
        "the module by hand from net.weights (transposed) and net.biases."
    )


# -- reading PyTorch ------------------------------------------------------------------------------------


def _read_module(module: Any) -> tuple[list[_Layer], dict[str, Any]]:
    """The layers of a module, and what else it says of the network: arguments of `MLP`."""
    nn = _torch().nn
    if not isinstance(module, nn.Module):
        raise ConfigurationError(f"a torch.nn.Sequential or a state_dict makes a network, not {module!r:.80}.")
    layers: list[_Layer] = []
    linears: list[Any] = []
    input_dropout, own = 0.0, {}
    for name, part in _leaves(module, nn):
        where = f"module {name!r}, {part!r:.100}," if name else f"the module {part!r:.100}"
        if type(part) is nn.Linear:
            if any(part.weight is linear.weight for linear in linears):
                raise ConfigurationError(f"{where} shares its weight with a layer before it; each of ours has its own.")
            linears.append(part)
            layers.append(_read_linear(part, where))
        elif type(part) is nn.Dropout:
            before = layers[-1].dropout if layers else input_dropout
            rate = 1 - (1 - before) * (1 - part.p)  # two in a row keep a unit if both do
            if layers:
                layers[-1].dropout = rate
            else:
                input_dropout = rate
        elif type(part) is nn.Flatten and part.start_dim == 1:
            continue  # rows are flat already
        elif type(part) is _torch_class("ScaleBytes") and not layers:
            own["input_scale"] = part.scale
        elif type(part) is not nn.Identity:
            _add_activation(layers, _read_activation(part, where), where)
    if not layers:
        raise ConfigurationError("the module has no torch.nn.Linear, so there is no layer to take over.")
    for layer in layers[:-1]:
        if layer.activation is not None and formulas.activation(layer.activation).role == "output":
            raise ConfigurationError(f"the module has {layer.activation!r} between two layers; it is for the output.")
    if layers[-1].dropout:
        raise ConfigurationError("the module drops outputs of its last layer; ours drops inputs and hidden units only.")
    if input_dropout:
        own["input_dropout"] = input_dropout
    if any(layer.dropout for layer in layers):
        own["dropout"] = [layer.dropout for layer in layers[:-1]]
    return layers, own


def _leaves(module: Any, nn: Any) -> Iterator[tuple[str, Any]]:
    """The modules of a stack of stacks in the order they run, with their names in it."""
    for name, part in module.named_modules(remove_duplicate=False):  # one ReLU may stand in many places
        if not (isinstance(part, nn.Sequential) and type(part).forward is nn.Sequential.forward):
            yield name, part


def _read_linear(linear: Any, where: str) -> _Layer:
    # a norm or a mask keeps its numbers under other names, and the weight is computed from them in each pass
    if odd := {name for name, _ in linear.named_parameters()} - {"weight", "bias"}:
        raise ConfigurationError(
            f"{where} computes its weight from {min(odd)!r}; remove that first, keeping the weight."
        )
    W = _as_array(f"the weight of {where}", linear.weight)
    if linear.bias is None:
        logger.warning("%s has no bias; the network's layer gets one of zeros, which training changes", where)
        return _Layer(W.T, np.zeros(len(W), W.dtype))
    return _Layer(W.T, _as_array(f"the bias of {where}", linear.bias))


def _read_activation(part: Any, where: str) -> str:
    """Our name of an activation of PyTorch's."""
    near = ""
    for name, cls, arguments in _TORCH_MODULES:
        if type(part) is not _torch_class(cls):
            continue
        odd = [key for key, accepted in arguments.items() if getattr(part, key) not in accepted]
        if not odd:
            return name
        near = (
            f"{where} has {odd[0]}={getattr(part, odd[0])!r}, and {name!r} is that of {arguments[odd[0]][0]!r}. Write "
            "yours as a mlp.custom_activation and pass module.state_dict() with activation=it."
        )
    known = ", ".join(dict.fromkeys(cls for _, cls, _ in _TORCH_MODULES if hasattr(_torch().nn, cls)))
    raise ConfigurationError(
        near
        or f"{where} cannot be part of a multilayer perceptron, which is a stack of Linear, Dropout, Flatten, "
        f"Identity, {known}. Of a module with a forward of its own pass state_dict() and name the activation."
    )


def _add_activation(layers: list[_Layer], name: str, where: str) -> None:
    if not layers:
        raise ConfigurationError(f"{where} stands before the first Linear; ours has no activation there.")
    layer = layers[-1]
    if layer.activation is not None:
        raise ConfigurationError(f"{where} follows another activation; a layer of ours has one.")
    if layer.dropout and name not in _COMMUTE_WITH_DROPOUT:
        raise ConfigurationError(f"{where} follows a Dropout; ours drops units after their activation. Swap the two.")
    layer.activation = name


def _read_state(state: Mapping[Any, Any]) -> list[_Layer]:
    matrices = [name for name, value in state.items() if len(getattr(value, "shape", ())) == 2]
    weights = _in_order([name for name in matrices if str(name).rpartition(".")[2] == "weight"])
    biases = [name.removesuffix("weight") + "bias" for name in weights]
    odd = [name for name in state if name not in (*weights, *biases)]
    if odd or not weights:
        shape = tuple(getattr(state[odd[0]], "shape", ())) if odd else ()
        what = f"{odd[0]!r} of shape {shape}" if odd else "nothing"
        raise ConfigurationError(
            f"the state_dict holds {what}, and that of a multilayer perceptron holds a 'weight' of shape "
            "(n_out, n_in) and a 'bias' for each layer."
        )
    layers = []
    for weight, bias in zip(weights, biases, strict=True):
        W = _as_array(f"state_dict[{weight!r}]", state[weight])
        if bias in state:
            b = _as_array(f"state_dict[{bias!r}]", state[bias])
        else:
            logger.warning("the state_dict has no %r; the network's layer gets zeros, which training changes", bias)
            b = np.zeros(len(W), W.dtype)
        layers.append(_Layer(W.T, b))
    return layers


def _in_order(names: list[str]) -> list[str]:
    """By the number in them, if they differ in nothing else: files list names by the alphabet, 10 before 2."""
    if len({re.sub(r"\d+", "#", name) for name in names}) > 1:
        return names
    return sorted(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])


def _as_array(where: str, tensor: Any) -> NDArray[Any]:
    dtype = str(getattr(tensor, "dtype", type(tensor).__name__)).removeprefix("torch.")
    if dtype not in ("float32", "float64"):
        raise DtypeError(f"{where} is {dtype}; it must be a tensor of float32 or float64 (module.float() makes it so).")
    return np.array(tensor.numpy(force=True) if hasattr(tensor, "numpy") else tensor)


def _chained_sizes(layers: list[_Layer]) -> list[int]:
    for number, (layer, following) in enumerate(pairwise(layers), start=1):
        if layer.W.shape[1] != following.W.shape[0]:
            raise ShapeError(
                f"layer {number} has {layer.W.shape[1]} outputs and layer {number + 1} takes "
                f"{following.W.shape[0]} inputs: they must be equal. Are the layers in the order in which they run?"
            )
    return [layers[0].W.shape[0], *(layer.W.shape[1] for layer in layers)]


def _common_dtype(layers: list[_Layer]) -> str:
    dtypes = sorted({str(array.dtype) for layer in layers for array in (layer.W, layer.b)})
    if len(dtypes) > 1:
        raise DtypeError("the weights are partly float32 and partly float64: use module.float() or module.double().")
    return dtypes[0]


def _settle_output(own: str | None, given: Any, loss: Any) -> tuple[Any, Any]:
    """The output's activation and the loss, by what the module has and what was asked for."""
    if given == "auto":
        output = own
    elif own is None or formulas.activation(given).name == own:
        output = given
    else:
        raise ConfigurationError(f"the module ends in {own!r}, and output_activation={given!r} was given.")
    if loss is not None:
        return "auto" if output is None else output, loss
    if output is None:
        return "identity", "mse"
    return output, LOSS_FOR.get(formulas.activation(output).name, "mse")
