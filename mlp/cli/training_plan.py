"""``mlp info --plan``: how each backend would run a training, and which one ``auto`` chooses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlp.checks import counted
from mlp.cli.options import one_or_list
from mlp.cli.printing import describe_network, print_field, print_line
from mlp.cli.training_options import optimizer_settings, total_epochs

if TYPE_CHECKING:
    from mlp.model import MLP


def describe(sizes: list[int], options: dict[str, Any]) -> tuple[MLP, dict[str, Any]]:
    """The network of the plan, not trained, and the JSON document of the command."""
    from mlp._backends import ConfigurationError, estimates, status
    from mlp.model import MLP
    from mlp.training import batch_size_for, execution

    net = MLP(
        sizes,
        one_or_list(options["activation"]),
        loss=("cross_entropy" if sizes[-1] > 1 else "mse") if options["loss"] is None else options["loss"],
        dropout=one_or_list(options["dropout"]),
        input_dropout=options["input_dropout"],
        l2=options["l2"],
        l1=options["l1"],
        init="zeros",  # the weights do not matter, and others take time
        dtype=options["dtype"],
        precision=options["precision"],
        backend=options["backend"],
        device=options["device"],
    )
    net.require_trainable()
    optimizer_class, settings = optimizer_settings(options)
    optimizer = optimizer_class(**settings)
    n = options["rows"]
    batch_size = batch_size_for(optimizer, options["batch_size"], n)
    epochs = total_epochs(n, options)
    work = net.training_work(n, epochs, batch_size, states=len(optimizer.rule.row.state))
    name, device, reason = net.backend_for(work)
    backends: dict[str, dict[str, Any]] = {}
    for backend, found in status().items():
        backends[backend] = {"usable": found.usable, "method": None, "reason": found.reason}
        if found.usable:
            placed = net.copy()
            placed.move(backend, device if backend == name else found.devices[0], "")
            try:
                how = execution(placed, optimizer, n, batch_size)
            except ConfigurationError as error:  # the backend does not have the precision
                backends[backend]["reason"] = str(error)
            else:
                backends[backend] |= {"method": how.method, "reason": how.reason}
    plan = {
        "sizes": list(net.sizes),
        "parameters": net.plan.layout.n_parameters,
        "dtype": str(net.dtype),
        "precision": net.precision,
        "optimizer": optimizer.to_dict(),
        "rows": n,
        "batch_size": batch_size,
        "epochs": epochs,
        "steps": epochs * -(-n // batch_size),
        "operations_per_step": net.plan.layout.flops_per_row * batch_size,
    }
    choice = {"backend": name, "device": device, "reason": reason}
    times = {place: None if estimate is None else estimate.to_dict() for place, estimate in estimates(work).items()}
    return net, {"plan": plan, "backends": backends, "estimates": times, "choice": choice}


def show(net: MLP, document: dict[str, Any]) -> None:
    """Print the report."""
    plan, choice = document["plan"], document["choice"]
    batch = "full batch" if plan["batch_size"] == plan["rows"] else f"batches of {plan['batch_size']}"
    print_field("network", describe_network(net))
    print_field(
        "training",
        f"{plan['optimizer']['name']}, {plan['rows']:,} rows, {batch}, {counted(plan['epochs'], 'epoch')}, "
        f"{plan['steps']:,} steps",
    )
    print_field("step", f"{plan['operations_per_step']:.1e} operations")
    print_line()
    for name, found in document["backends"].items():
        reason = " ".join(found["reason"].split())
        if not found["usable"]:
            print_field(name, f"not usable: {reason}")
        else:
            print_field(name, ": ".join(filter(None, (found["method"], reason))))
    print_line()
    for place, estimate in document["estimates"].items():
        print_field(f"on {place.upper()}", _in_words(estimate))
    print_field("backend", f"{choice['backend']} on {choice['device']} ({choice['reason']})")
    if document["backends"][choice["backend"]]["method"] is None:
        print_line("mlp train would fail with these options; the reason is above.")


def _in_words(estimate: dict[str, Any] | None) -> str:
    """The estimated time on one device."""
    if estimate is None:
        return "no estimate, because the driver does not tell the speed of the GPU"
    parts = ", ".join(f"{name} {value:.3g}" for name, value in estimate["parts_in_microseconds"].items())
    copying = f", copying the data {estimate['copying_seconds']:.2g} s" if estimate["copying_seconds"] else ""
    return (
        f"estimate: {estimate['microseconds_per_step']:.3g} microseconds a step ({parts}); "
        f"{estimate['seconds']:.3g} s in total, with loading the kernels {estimate['loading_seconds']:.2g} s{copying}"
    )


def parse_sizes(text: str) -> list[int]:
    """Parse the widths of all layers, such as ``784-128-10``."""
    try:
        sizes = [int(part) for part in text.split("-")]
    except ValueError:
        sizes = []
    if len(sizes) < 2 or min(sizes) < 1:
        raise click.BadParameter(f"{text!r} is not a list of layer widths such as 784-128-10.")
    return sizes
