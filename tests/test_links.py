"""Links of the pages and texts: where they lead is there. Sphinx checks those in docstrings (make docs)."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pasted
import pytest

import sktorch_continue

ROOT = pasted.ROOT
TEXTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("[bde]*/*.md"), *ROOT.glob("[be]*/*/*.md")])
LINK = re.compile(r"\[[^]\n]*\]\(([^)\s]+)\)|<(https?:[^>\s]+)>")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
NAMED_FILE = re.compile(r"`((?:sktorch_continue|tests|docs|benchmarks|examples)/[\w./-]*\w\.\w+)`")
MADE = re.compile(r"docs/(_build|api|gallery|reports)/")  # by make docs


def prose(path):
    """Return a text without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(path):
    """Return the names by which links find the headings of a page, as GitHub and MyST make them."""
    plain = (re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading).lower() for heading in HEADING.findall(prose(path)))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def source(path):
    """Return the file that a page is made from: its own, or the script of an example."""
    if path.parent != ROOT / "docs" / "gallery":
        return path
    gallery = ROOT / "examples" / "gallery"
    return gallery / ("GALLERY_HEADER.rst" if path.stem == "index" else f"{path.stem}.py")


def leads_nowhere(link, text):
    """Say why a link of a text cannot be followed, None where it can."""
    target, _, anchor = link.partition("#")
    path = source((text.parent / target).resolve()) if target else text
    if not path.exists():
        return f"{link}: no such file"
    if anchor and anchor not in anchors(path):
        return f"{link}: no such heading"
    return None


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: str(text.relative_to(ROOT)))
def test_a_link_leads_somewhere(text):
    """A relative link names a file that is there, and a heading in it; another one is a whole address, by https."""
    links = [inner or outer for inner, outer in LINK.findall(prose(text))]
    outside = [urlsplit(link) for link in links if ":" in link]
    assert [link.geturl() for link in outside if link.scheme != "https" or "." not in link.netloc] == []
    inside = (leads_nowhere(link, text) for link in links if ":" not in link)
    assert [why for why in inside if why] == []


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: str(text.relative_to(ROOT)))
def test_what_a_text_names_is_there(text):
    """Every file it names by its path, and every target of make."""
    words = prose(text)
    files = [name for name in NAMED_FILE.findall(words) if not MADE.match(name) and "*" not in name]
    installed = Path(sktorch_continue.__file__).parent.parent  # where the tests run beside no package
    assert [name for name in files if not (ROOT / name).exists() and not (installed / name).exists()] == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", words)) - targets == set()


def test_every_page_is_in_a_table_of_contents():
    """The index lists all pages."""
    listed = set(re.findall(r"^(\w+)$", (ROOT / "docs" / "index.md").read_text(encoding="utf-8"), re.MULTILINE))
    pages = {path.stem for pattern in ("*.md", "*.rst") for path in (ROOT / "docs").glob(pattern)}
    assert pages - {"index"} - listed == set()
