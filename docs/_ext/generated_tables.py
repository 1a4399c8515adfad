"""Directives whose text comes out of the program: the tables of formulas, and the help of the command line."""

from __future__ import annotations

import click
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from backends import formulas
from mlp.cli import cli


def activations():
    yield "name", "where", "backward pass uses", "derivative"
    for row in formulas.ACTIVATIONS.values():
        where = "output" if row.role == "output" else "hidden, output"
        yield f"``{row.name}``", where, f"{row.saves}" if row.backward else "", "yes" if row.backward else "no"


def losses():
    yield "name", "output activations", "of a row", "fused with"
    fused = {}
    for output, loss in formulas.FUSED:
        fused.setdefault(loss, []).append(output)
    for row in formulas.LOSSES.values():
        outputs = ", ".join(f"``{name}``" for name in row.outputs) if row.outputs else "every differentiable one"
        kind = "mean over the outputs" if row.mean_over_outputs else "sum over the outputs"
        yield f"``{row.name}``", outputs, kind, ", ".join(f"``{name}``" for name in fused.get(row.name, ()))


def rules():
    yield "name", "state arrays"
    for name, row in formulas.RULES.items():
        yield f"``{name}``", ", ".join(f"``{slot}``" for slot in row.state) or "none"


TABLES = {"activations": activations, "losses": losses, "rules": rules}


class FormulasTable(SphinxDirective):
    """``.. formulas-table:: activations``: one row for each entry of the table."""

    required_arguments = 1

    def run(self):
        head, *rows = TABLES[self.arguments[0]]()
        lines = [".. list-table::", "   :header-rows: 1", ""]
        for row in (head, *rows):
            lines += [f"   {'* -' if not number else '  -'} {cell}" for number, cell in enumerate(row)]
        holder = nodes.Element()
        self.state.nested_parse(StringList(lines, self.get_source_info()[0]), self.content_offset, holder)
        return holder.children


class CommandHelp(SphinxDirective):
    """``.. command-help:: train``: what ``mlp train --help`` prints."""

    optional_arguments = 1

    def run(self):
        command, name = cli, "mlp"
        if self.arguments:
            command, name = cli.commands[self.arguments[0]], f"mlp {self.arguments[0]}"
        with click.Context(command, info_name=name, terminal_width=88, max_content_width=88) as context:
            text = command.get_help(context)
        block = nodes.literal_block(text, text)
        block["language"] = "none"
        return [block]


def setup(app):
    app.add_directive("formulas-table", FormulasTable)
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
