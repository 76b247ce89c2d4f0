"""What is installed: every module and no more, and no library that only an extra asks for."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from bare_environment import of_extras

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "sktorch_continue"

IMPORT_ALL = """
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys(sys.argv[1:]))  # who imports one of these is told that it is not there
import sktorch_continue

for module in pkgutil.walk_packages(sktorch_continue.__path__, "sktorch_continue."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
for name in sktorch_continue.__all__:
    getattr(sktorch_continue, name)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the folder with an sdist of this clone, and the wheel that is made from it."""
    pytest.importorskip("build")
    if not PACKAGE.exists():
        pytest.skip("the package is installed, its source is not here")
    folder = tmp_path_factory.mktemp("built")
    made = shutil.ignore_patterns(".*", "_build", "__pycache__", "dist", "build", "*.egg-info")
    shutil.copytree(ROOT, folder / "clone", ignore=made)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(folder / "clone")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def files_of(folder):
    """Return the files below a folder as they stand in an archive; hidden ones, bytecode and drawings left out."""
    found = {path.relative_to(ROOT).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if not re.search(r"(^|/)(\.|__pycache__/)|\.png$|-quick\.", name)}


def test_every_module_can_be_imported_without_an_extra():
    """No module imports matplotlib, pandas or another library of an extra before something needs it."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *of_extras("plot", "frame", "progress", "tensorboard", "mlflow", "bench")],
        capture_output=True,
        text=True,
    )
    assert (done.stderr, done.returncode) == ("", 0)


def test_the_wheel_has_the_package_and_nothing_else(built):
    """Every module, and the marker that it has types; no tests."""
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert "sktorch_continue/py.typed" in names
    assert names == files_of(PACKAGE)


def test_the_sdist_has_what_its_tests_need(built):
    """The suite, and the pages, examples and scripts that it runs."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    read = {name for part in ("tests", "examples", "benchmarks") for name in files_of(ROOT / part)}
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.*")}
    assert (read | pages | files_of(PACKAGE) | {"README.md", "LICENSE", "Makefile", "constraints.txt"}) - names == set()
    assert [name for name in names if re.search(r"__pycache__/|^\.|^(dist|build|docs/_build)/", name)] == []
