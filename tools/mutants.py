"""Test the tests of the core: change one place of the source at a time, and see whether a test fails.

`make mutants` runs every mutant of `CORE`; `python -m tools.mutants --sample 20` runs 20 of them, evenly spread. A
mutant that no test notices is a survivor. `tools/mutants.toml` lists the known survivors with their reasons;
those that compute the same are `equivalent` and do not count. The exit code is 1 where fewer than 90 % of the others
die, or where a survivor is not in the list.

Each mutant runs in a forked child that has the large libraries loaded already, and finds the changed module on import:
no file is changed. Fixtures that train and export are made once, by a run without a change.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any, NamedTuple

from tools.mutations import Mutant, mutants
from tools.source import ROOT

LIST = ROOT / "tools" / "mutants.toml"
WANTED = 0.9  # share of the mutants that must die
HANG_S = 300.0  # a mutant that never ends is noticed, too
CORE = {
    "rtsysid/live/session.py": (
        "tests/live/test_session.py",
        "tests/live/test_session_faults.py",
        "tests/live/test_session_rules.py",
        "tests/live/test_deadline.py",
        "tests/live/test_source.py::test_a_session_takes_the_calibration_of_its_bundle",
    ),
    "rtsysid/model/delayline.py": ("tests/model/test_delayline.py", "tests/model/test_parity_1_windows.py"),
    "rtsysid/model/bundle.py": ("tests/model/test_bundle.py", "tests/model/test_trust.py"),
    "firmware_bridge/wire.py": ("tests/firmware_bridge/test_wire.py", "tests/firmware_bridge/test_frame_numbers.py"),
}
LIGHT, HEAVY = ("numpy", "pytest", "hypothesis", "msgspec", "click"), ("torch", "onnx", "onnxruntime")
TRAINS = "rtsysid/model/bundle.py"  # its tests train and export


class Result(NamedTuple):
    """One mutant, and whether a test noticed it."""

    mutant: Mutant
    died: bool


class _Finder:
    """Import one module from a changed source."""

    def __init__(self, path: Path, source: str) -> None:
        self.name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        self.path, self.source = path, source

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        if name != self.name:
            return None
        return spec_from_file_location(name, self.path, loader=_Loader(name, str(self.path), self.source))


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self.source = source

    def get_code(self, fullname: str) -> Any:
        return compile(self.source, self.path, "exec", dont_inherit=True)


def run_tests(tests: Sequence[str], base: Path, mutant: Mutant | None = None) -> None:
    """Run tests in this process, which ends with pytest's exit code. `base` holds what fixtures make once."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    if mutant is not None:
        sys.meta_path.insert(0, _Finder(ROOT / mutant.file, mutant.source))
    os.environ["PYTEST_XDIST_WORKER"] = "mutant"  # so that fixtures look for what another run made
    import pytest

    options = [
        "-x",
        "-q",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--basetemp",
        str(base / "tests"),
    ]
    os._exit(pytest.main([*options, *tests]))


def judged(every: Sequence[Mutant], jobs: int) -> Iterator[Result]:
    """Run the tests of each mutant, `jobs` at a time; yield each result as it comes."""
    waiting, running = list(enumerate(every))[::-1], list[_Running]()
    with tempfile.TemporaryDirectory() as folder:
        made = _without_change(Path(folder) / "made", sorted({mutant.file for mutant in every}))
        while waiting or running:
            while waiting and len(running) < jobs:
                number, mutant = waiting.pop()
                running.append(_Running(mutant, made, Path(folder) / str(number)))
            connection.wait([each.process.sentinel for each in running], 1.0)
            for each in [each for each in running if each.ended]:
                running.remove(each)
                yield each.result()


class _Running:
    """The process that runs the tests of one mutant, with its own copy of what the fixtures made."""

    def __init__(self, mutant: Mutant, made: Path, base: Path) -> None:
        self.mutant, self.base, self.until = mutant, base, time.monotonic() + HANG_S
        shutil.copytree(made, base, ignore=shutil.ignore_patterns("tests"))
        self.process = get_context("fork").Process(target=run_tests, args=(CORE[mutant.file], base, mutant))
        self.process.start()

    @property
    def ended(self) -> bool:
        return not self.process.is_alive() or time.monotonic() > self.until

    def result(self) -> Result:
        self.process.kill()  # one that hangs; no change to one that ended
        self.process.join()
        shutil.rmtree(self.base, ignore_errors=True)
        return Result(self.mutant, died=self.process.exitcode != 0)


def _without_change(base: Path, files: Sequence[str]) -> Path:
    """Run the tests of these files as they are, so that fixtures are made; end where one fails."""
    base.mkdir()
    tests = sorted({test for file in files for test in CORE[file]})
    process = get_context("fork").Process(target=run_tests, args=(tests, base))
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"mutants: {' '.join(tests)} fail without a change; mend them first")
    return base


def spread(every: Sequence[Mutant], count: int) -> list[Mutant]:
    """Return `count` of the mutants, evenly spread over all of them; all where `count` is 0."""
    count = min(count or len(every), len(every))
    return [every[len(every) * number // count] for number in range(count)]


def known_survivors() -> dict[tuple[str, str, str], dict[str, Any]]:
    """Return the list of known survivors by file, statement and changed statement."""
    entries = tomllib.loads(LIST.read_text())["survivor"]
    return {(each["file"], each["before"], each["after"]): each for each in entries}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the mutants; print the survivors and a table of the files. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description="Test the tests of the core.")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="run N mutants, evenly spread; 0: all")
    parser.add_argument("--file", help="run those of one file")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    chosen = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    every = [mutant for file in CORE if chosen.file in (None, file) for mutant in mutants(ROOT / file)]
    for name in LIGHT + (HEAVY if chosen.file in (None, TRAINS) else ()):
        __import__(name)
    known, counts, strangers = known_survivors(), Counter[tuple[str, str]](), 0
    for mutant, died in judged(spread(every, chosen.sample), chosen.jobs):
        entry = known.get(mutant.key)
        kind = "died" if died else "equivalent" if entry and entry.get("equivalent") else "survived"
        counts[mutant.file, kind] += 1
        if not died and entry is None:
            strangers += 1
            print(f"survivor {mutant.file}:{mutant.line}\n    {mutant.before}\n    {mutant.after}", flush=True)
    return _conclude(counts, strangers)


def _conclude(counts: Counter[tuple[str, str]], strangers: int) -> int:
    enough = True
    for file in sorted({file for file, _ in counts}):
        died, survived, equivalent = (counts[file, kind] for kind in ("died", "survived", "equivalent"))
        share = died / (died + survived) if died + survived else 1.0
        enough &= share >= WANTED
        print(f"{file}: {died} of {died + survived} mutants died ({100 * share:.1f} %), {equivalent} equivalent")
    print(f"{strangers} survivors are not in {LIST.relative_to(ROOT)}")
    return 0 if enough and not strangers else 1


if __name__ == "__main__":
    sys.exit(main())
