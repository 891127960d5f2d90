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
    "sphinx-mathjax-offline",
    "sphinx.ext.viewcode",
    "reference_tables",
]
autosummary_generate = False
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_ivar = True
strip_signature_backslash = True  # else attributes lose the underscore that ends their names
exclude_patterns = ["_build", "_generated"]
suppress_warnings = ["myst.header"]

html_theme = "furo"
html_title = f"manyview {version}"

# The tables of the benchmarks, and the models' pages, are made of the results and of the code.
HERE = Path(__file__).parent
sys.path += [str(HERE.parent), str(HERE)]
from model_pages import write_model_pages  # noqa: E402

from benchmarks.pages import write_pages  # noqa: E402

write_pages(HERE / "_generated")
write_model_pages(HERE / "models")
