"""The pages of the documentation: their examples, and the list of all public names."""

import re

import pasted
import pytest

import sktorch_continue
from sktorch_continue import callbacks, continuation, testing

DOCS = pasted.ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_work_as_pasted(page, tmp_path, monkeypatch):
    """Every Python example of a page runs, without a warning, and prints what the page says."""
    pasted.run(page, tmp_path, monkeypatch)


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
