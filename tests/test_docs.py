"""The pages of the documentation: their examples, their links, and the list of all public names."""

import re

import pasted
import pytest

import sktorch_continue
from sktorch_continue import callbacks, continuation, testing

DOCS = pasted.ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TEXTS = [*PAGES, *sorted(pasted.ROOT.glob("*.md")), *sorted(pasted.ROOT.glob("[be]*/**/*.md"))]
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")  # relative ones; Sphinx checks the places in a page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_work_as_pasted(page, tmp_path, monkeypatch):
    """Every Python example of a page runs, without a warning, and prints what the page says."""
    pasted.run(page, tmp_path, monkeypatch)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: str(text.relative_to(pasted.ROOT)))
def test_a_link_to_a_file_leads_somewhere(text):
    """Every relative link names a file that is there."""
    targets = LINK.findall(text.read_text(encoding="utf-8"))
    made = ("gallery/", "api/")  # by make docs, which checks links to them
    assert [t for t in targets if not t.startswith(made) and not (text.parent / t).exists()] == []


def listed():
    """Return every name that the page of the interface names."""
    return set(re.findall(r"\w+", (DOCS / "api.rst").read_text(encoding="utf-8")))


@pytest.mark.parametrize("module", [sktorch_continue, callbacks, continuation], ids=lambda module: module.__name__)
def test_every_public_name_is_on_the_page_of_the_interface(module):
    """What a module lists as public is listed in the documentation."""
    assert set(module.__all__) - listed() == set()


def test_every_check_for_users_is_on_the_page_of_the_interface():
    """What ``sktorch_continue.testing`` offers is listed in the documentation."""
    defined = {n for n, v in vars(testing).items() if n[0] != "_" and getattr(v, "__module__", "") == testing.__name__}
    assert defined - listed() == set()
