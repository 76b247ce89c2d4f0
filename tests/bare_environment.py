"""What `make test-wheel` asks of its environment: the package is the installed one, and no extra is there."""

import importlib.metadata
import sys
from pathlib import Path

from packaging.requirements import Requirement

import sktorch_continue

TOOLS = {"hypothesis", "mypy", "pytest", "pytest-xdist"}  # the tests need them, the package does not


def of_extras(*names):
    """Return the distributions that only extras of the package ask for: these, or any where none is named."""
    metadata = importlib.metadata.metadata("sktorch-continue")
    asked = [Requirement(line) for line in metadata.get_all("Requires-Dist")]
    extras = names or metadata.get_all("Provides-Extra")
    found = {r.name for r in asked if r.marker and any(r.marker.evaluate({"extra": extra}) for extra in extras)}
    return found - {r.name for r in asked if not r.marker} - {"sktorch-continue"}


def is_installed(distribution):
    """Tell whether there is a distribution of that name."""
    try:
        return importlib.metadata.distribution(distribution) is not None
    except importlib.metadata.PackageNotFoundError:
        return False


if __name__ == "__main__":
    home = Path(sktorch_continue.__file__)
    if "site-packages" not in home.parts or not home.is_relative_to(sys.prefix):
        sys.exit(f"{home} is not the installed package")
    present = sorted(filter(is_installed, of_extras() - TOOLS))
    if present:
        sys.exit(f"only extras ask for {', '.join(present)}, and the environment has them")
    print(f"{home.parent} without {', '.join(sorted(of_extras() - TOOLS))}")
