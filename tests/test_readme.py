"""The README's examples."""

import re
import sys
from pathlib import Path
from types import ModuleType

from sktorch_continue import TorchClassifier

README = Path(__file__).parent.parent / "README.md"


def examples():
    """Yield every Python block with the line breaks before it, so that a traceback names the README's line."""
    text = README.read_text(encoding="utf-8")
    for match in re.finditer(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE):
        yield "\n" * text.count("\n", 0, match.start(1)) + match[1]


def test_readme_examples_work_as_pasted(tmp_path, monkeypatch):
    """Every Python example of the README runs, one after the other and without a warning."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(README.parent / "examples")  # as in a clone of the repository
    pasted = ModuleType("pasted")  # pickle has to find the classes that are defined in it
    monkeypatch.setitem(sys.modules, "pasted", pasted)
    for code in examples():
        if "set_callbacks" in code and not hasattr(TorchClassifier, "set_callbacks"):
            continue  # scikit-learn before 1.9
        exec(compile(code, str(README), "exec"), vars(pasted))
    assert pasted.model.n_epochs_ == 10
    assert (tmp_path / "learning_curve.png").exists()
