"""The Python examples of a page, run as a reader runs them: pasted one after the other into one session."""

import contextlib
import io
import re
import sys
from pathlib import Path
from types import ModuleType

from optional import plt, skipped_where_missing

from sktorch_continue import TorchClassifier

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```$(?:\s+^```text\n(?P<output>.*?)^```$)?", re.DOTALL | re.MULTILINE)


def examples(page):
    """Yield the code of every block, and what the block after it says it prints (None where there is none).

    The code has the line breaks before it, so that a traceback names the line of the page.
    """
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        yield "\n" * text.count("\n", 0, match.start("code")) + match["code"], match["output"]


def run(page, folder, monkeypatch):
    """Run the examples of a page in a folder, as in a clone of the repository; return what they have defined.

    What a block prints has to be what the page says it prints.
    """
    monkeypatch.chdir(folder)
    (folder / "examples").symlink_to(ROOT / "examples")
    pasted = ModuleType("pasted")  # pickle has to find the classes that are defined in it
    monkeypatch.setitem(sys.modules, "pasted", pasted)
    try:
        for code, output in examples(page):
            if "set_callbacks" in code and not hasattr(TorchClassifier, "set_callbacks"):
                continue  # scikit-learn before 1.9
            with skipped_where_missing(), contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(code, str(page), "exec"), vars(pasted))
            assert output is None or printed.getvalue() == output, code.strip()
    finally:
        if "matplotlib" in sys.modules:
            plt.close("all")
    return pasted
