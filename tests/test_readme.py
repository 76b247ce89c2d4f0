"""The README's examples."""

import pasted


def test_readme_examples_work_as_pasted(tmp_path, monkeypatch):
    """Every Python example of the README runs, one after the other and without a warning."""
    defined = pasted.run(pasted.ROOT / "README.md", tmp_path, monkeypatch)
    assert defined.model.n_epochs_ == 10
    assert (tmp_path / "learning_curve.png").exists()
