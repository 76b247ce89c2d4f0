"""Settings of Sphinx; ``make docs`` builds. Nothing here needs a network."""

import shutil
import warnings
from pathlib import Path

import matplotlib
import torch

import sktorch_continue

HERE = Path(__file__).parent
ROOT = HERE.parent

project = "sktorch-continue"
author = "The sktorch_continue developers"
copyright = author
version = release = sktorch_continue.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "myst_parser",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates"]
smartquotes = False  # quotes stand in code and in defaults
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(sklearn|torch)\..*")]  # their pages are elsewhere

html_theme = "furo"
html_title = f"sktorch-continue {release}"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["wide_tables.css"]

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

# ---- the API pages --------------------------------------------------------------------------------------------------

templates_path = ["_templates"]
autosummary_generate = True
autodoc_typehints = "none"  # they are in the docstrings, in words
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # autodoc lists them


def leave_out_what_others_define(app, what, name, obj, skip, options):
    """Document what this package defines; what it inherits from scikit-learn and torch is documented there."""
    home = getattr(obj, "__module__", None) or getattr(getattr(obj, "fget", None), "__module__", None)
    inherited = home is not None and not home.startswith("sktorch_continue")
    routing = name.startswith("set_") and name.endswith("_request")
    return True if inherited or routing else None


# ---- the gallery ----------------------------------------------------------------------------------------------------

matplotlib.use("Agg")
torch.set_num_threads(1)  # networks this small are not faster on more
warnings.filterwarnings("error", module="__main__|sktorch_continue")

sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("sktorch_continue",),
    "reference_url": {"sktorch_continue": None},
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
}


def bring_reports(app):
    """Copy how ``benchmarks/`` measures, and its committed reports, to where the page on speed lists them."""
    shutil.rmtree(HERE / "reports", ignore_errors=True)
    (HERE / "reports").mkdir()
    for page in [ROOT / "benchmarks" / "README.md", *(ROOT / "benchmarks" / "reports").glob("*.md")]:
        shutil.copy(page, HERE / "reports")


def setup(app):
    app.connect("autodoc-skip-member", leave_out_what_others_define)
    app.connect("builder-inited", bring_reports, priority=1)
