"""Configuration of the documentation: ``python -m sphinx -W --keep-going -b html docs docs/_build/html``.

The build reads nothing from the network.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

import mlp  # noqa: E402  # the path comes first

project = "mlp"
author = "the mlp developers"
release = version = mlp.__version__
html_title = f"mlp {version}"

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "generated_tables",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "_ext", "_templates"]
templates_path = ["_templates"]

# A dead reference is a warning, and the build fails on warnings.
nitpicky = True
default_role = "autolink"  # `name` in a docstring: a link where the name is documented
# Names of parameters, and of other libraries, need no target; a name that begins with our packages needs one.
nitpick_ignore_regex = [("py:obj", r"(?!mlp\.|backends\.).*")]
myst_enable_extensions = ["attrs_block"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # types stand in the docstrings
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # the templates list them
numpydoc_xref_param_type = False
toc_object_entries_show_parents = "hide"

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "navbar_align": "left",
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_context = {"default_mode": "auto"}
copyright = "the mlp developers, MIT license"
