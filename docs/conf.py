"""How Sphinx builds the documentation."""

import sys
from pathlib import Path

import manyview

project = "manyview"
author = "The manyview developers"
copyright = "2026, the manyview developers"
version = release = manyview.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_ivar = True
exclude_patterns = ["_build", "_generated"]
suppress_warnings = ["myst.header"]

html_theme = "furo"
html_title = f"manyview {version}"

# The tables of the benchmarks are made of their results.
sys.path.append(str(Path(__file__).parents[1]))
from benchmarks.pages import write_pages  # noqa: E402

write_pages(Path(__file__).parent / "_generated")
