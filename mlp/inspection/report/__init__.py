"""A run as one HTML page that needs nothing but itself.

`sections` gathers what there is to say, as plain data (`parts`); `page.html` is what it looks like.
"""

from __future__ import annotations

import os

from mlp._backends import ConfigurationError
from mlp.inspection.report.sections import gather


def report(folder: str | os.PathLike[str], *, data_dir: str | os.PathLike[str] | None = None) -> str:
    """The page about a run.

    Whatever cannot be had (the data, the model, figures of a run that failed) is named on the page, with the reason.

    Parameters
    ----------
    folder : path-like
        The run's folder; it is only read.
    data_dir : path-like, optional
        Where MNIST is now, if it has moved.

    Returns
    -------
    str
        HTML, without scripts and without references to anything outside of it.

    Raises
    ------
    FileFormatError
        If `folder` is no run.
    ConfigurationError
        If matplotlib or jinja2 is not installed.
    """
    try:
        import jinja2
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(f"a report needs {error.name}: pip install matplotlib jinja2") from error
    room = jinja2.Environment(
        loader=jinja2.PackageLoader("mlp.inspection.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    page: str = room.get_template("page.html").render(gather(folder, data_dir=data_dir))
    return page
