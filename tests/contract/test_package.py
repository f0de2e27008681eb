"""What `import rtsysid` offers, and what the wheel carries."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

import rtsysid
from rtsysid import _HOMES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("module", sorted(_HOMES))
def test_every_public_name_is_the_one_of_its_module(module: str) -> None:
    """Each name that `rtsysid` offers is the object of the module where it lives, and `__all__` lists it."""
    for name in _HOMES[module]:
        assert getattr(rtsysid, name) is getattr(import_module(f"rtsysid.{module}"), name)
        assert name in rtsysid.__all__


def test_all_is_what_can_be_taken() -> None:
    """`__all__`, `dir` and the table of homes name the same things; another name is an AttributeError."""
    offered = sorted(name for names in _HOMES.values() for name in names)
    assert sorted(rtsysid.__all__) == offered
    assert set(dir(rtsysid)) == {*offered, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = rtsysid.nothing


def test_the_wheel_says_that_it_is_typed(tmp_path: Path) -> None:
    """A wheel carries `py.typed` in each package and the examples that the demonstration flies; no tests, no rig."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"{package}/py.typed" for package in ("rtsysid", "export", "firmware_bridge")} <= names
    assert {"rtsysid/examples/compare.py", "rtsysid/examples/controllers.py"} <= names
    assert not [name for name in names if name.startswith(("tests/", "hil/", "bench/", "tools/"))]
