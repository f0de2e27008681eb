"""Hostile recordings and mutated ones, of every format: one line of error, little memory, no other file touched.

RTSYSID_FUZZ_RECORDINGS says how many mutants of each format are read: `make fuzz` asks for a hundred thousand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.hostile_recordings import COLUMNS, HOSTILE
from support.hostile_ros import ROS_HOSTILE
from support.mutated_recordings import MUTATORS, seeds, use

from rtsysid.errors import TraceError
from rtsysid.recordings.formats import FORMATS
from rtsysid.recordings.trace import Trace

MUTANTS = int(os.environ.get("RTSYSID_FUZZ_RECORDINGS", "100"))
BEYOND = 300 << 20  # bytes of memory, beyond what the file honestly holds
TESTS = Path(__file__).parents[1]
EVERY_HOSTILE = {**HOSTILE, **ROS_HOSTILE}


def child(folder: Path, *arguments: object) -> dict[str, object]:
    """Run a module of `support` in a folder, and return what it prints."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (TESTS.parent, TESTS)))}
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_every_format_has_hostile_files_and_a_mutator() -> None:
    """A new format without hostile files and without a mutator fails here."""
    assert set(EVERY_HOSTILE) == set(MUTATORS) == set(FORMATS)


@pytest.mark.parametrize("suffix", FORMATS)
def test_hostile_files_are_refused_in_little_memory(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is refused in one line that says why; the peak of the memory stays within the limit for all of them."""
    names = {f"{k}{suffix}": each for k, each in enumerate(EVERY_HOSTILE[suffix])}
    for name, each in names.items():
        each.write(tmp_path / name)
    monkeypatch.setenv("RTSYSID_LIMITS", f"columns={COLUMNS}")
    found = child(tmp_path, "support.refusals", *names)
    for name, each in names.items():
        line = found["lines"][name]  # type: ignore[index]
        assert each.says in line, (each.name, line)
        assert "\n" not in line
    largest = max((tmp_path / name).stat().st_size for name in names)
    assert found["peak"] <= BEYOND + largest, found  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.timeout(600 + MUTANTS)
def test_mutants_are_read_or_refused(tmp_path: Path) -> None:
    """Of many mutants of each format, each is read or refused in one line, in time and memory, and no file appears."""
    found = child(tmp_path, "support.mutated_recordings", MUTANTS, 1)
    for suffix, ends in found["ends"].items():  # type: ignore[attr-defined]
        assert set(ends) == {"read", "refused"}, (suffix, ends)
    assert found["peak"] <= BEYOND  # type: ignore[operator]
    mine = {f"{name}{suffix}" for suffix in FORMATS for name in ("seed", "mutant")} | {"recovered.mcap"}
    assert set(found["files"]) <= mine  # type: ignore[call-overload]


def test_limits_can_be_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting that a refusal names reads the file."""
    rows = "".join(f"{k / 100},{k},0\n" for k in range(300))
    (tmp_path / "long.csv").write_text("t,a,b\n" + rows)
    monkeypatch.setenv("RTSYSID_LIMITS", "free_bytes=0,growth=0")
    with pytest.raises(TraceError) as refused:
        Trace.read(tmp_path / "long.csv")
    monkeypatch.setenv("RTSYSID_LIMITS", "free_bytes=0," + refused.value.remedy.rpartition("LIMITS=")[2])
    assert len(Trace.read(tmp_path / "long.csv")) == 300


def test_seeds_are_valid(tmp_path: Path) -> None:
    """What is mutated can be read as it is."""
    for suffix in seeds(tmp_path):
        use(tmp_path / f"seed{suffix}")


def test_the_peak_of_memory_is_counted(tmp_path: Path) -> None:
    """The count that the other tests rely on sees an allocation."""
    assert child(tmp_path, "support.refusals", "--allocate", 200 << 20)["peak"] > 150 << 20  # type: ignore[operator]
