"""A self-contained HTML page about a run.

`sections` collects the content as plain data (`parts`); the template `page.html` defines the layout.
"""

from __future__ import annotations

import os

from mlp._backends import ConfigurationError
from mlp.inspection.report.data_rows import shown_rows
from mlp.inspection.report.sections import content


def report(
    folder: str | os.PathLike[str], *, data_dir: str | os.PathLike[str] | None = None, show_data: bool = True
) -> str:
    """Return the HTML page about a run.

    If something cannot be read (the data, the model, the results of a failed run), the page names it and the reason.

    Parameters
    ----------
    folder : path-like
        The run's folder; it is not changed.
    data_dir : path-like, optional
        The folder of the MNIST files, if it has changed since the run.
    show_data : bool
        Whether the page may show rows of the data: mistakes with their values, points in plots.  Without them it has
        no value of the data but the names of classes.

    Returns
    -------
    str
        HTML without scripts and without references to other files, which a policy in it forbids.

    Raises
    ------
    FileFormatError
        If `folder` is not a run.
    ConfigurationError
        If matplotlib or jinja2 is not installed.
    """
    return page(folder, data_dir=data_dir, show_data=show_data)[0]


def page(
    folder: str | os.PathLike[str], *, data_dir: str | os.PathLike[str] | None = None, show_data: bool = True
) -> tuple[str, int]:
    """Return the page of `report`, and how many rows of the data it shows."""
    try:
        import jinja2
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(f"a report needs {error.name}: pip install matplotlib jinja2") from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mlp.inspection.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    variables = content(folder, data_dir=data_dir, show_data=show_data)
    text: str = environment.get_template("page.html").render(variables)
    return text, len(shown_rows(variables["sections"]))
