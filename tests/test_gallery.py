"""The examples of the gallery, run as scripts; `make docs` runs them as well and draws their pictures."""

import runpy

import pasted
import pytest

plt = pytest.importorskip("matplotlib.pyplot")

EXAMPLES = sorted((pasted.ROOT / "examples" / "gallery").glob("plot_*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_an_example_of_the_gallery_runs_and_draws(example, tmp_path, monkeypatch):
    """Every example runs, without a warning, and leaves a picture."""
    monkeypatch.chdir(tmp_path)
    try:
        runpy.run_path(str(example), run_name="__main__")
        assert plt.get_fignums()
    finally:
        plt.close("all")
