"""Whatever goes wrong ends with the right exit code and at most two lines."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from support.shell import ROOT, command, refused_here

from rtsysid.cli import cli, faults
from rtsysid.errors import StorageError


def failing(error: BaseException) -> Callable[[], None]:
    """A command that ends with an error."""

    @click.command("failing")
    def fail() -> None:
        raise error

    return fail


OUTCOMES: list[tuple[BaseException, int, int]] = [  # what happened, exit code, lines on stderr
    (KeyError("x"), 70, 2),
    (ZeroDivisionError("division by zero"), 70, 2),
    (EOFError(), 70, 2),
    (AssertionError(), 70, 2),
    (RecursionError("maximum recursion depth exceeded"), 1, 1),
    (OSError(errno.EIO, "Input/output error"), 70, 2),
    (RuntimeError("two\nlines \x1b[2J \ud800"), 70, 2),
    (KeyboardInterrupt(), 130, 1),
    (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, 0),
    (MemoryError(), 1, 1),
    (PermissionError(errno.EACCES, "Permission denied", "/a/b"), 1, 1),
    (OSError(errno.ENOSPC, "No space left on device"), 5, 1),
    (OSError(errno.EFBIG, "File too large"), 5, 1),
    (ModuleNotFoundError("No module named 'torch'", name="torch"), 1, 1),
    (click.UsageError("wrong"), 1, 1),
    (StorageError("a", "b", "c"), 5, 1),
    (click.exceptions.Exit(2), 2, 0),
    (SystemExit(2), 2, 0),
]


@pytest.mark.parametrize(("error", "code", "lines"), OUTCOMES)
def test_every_end_has_its_code_and_its_lines(
    error: BaseException, code: int, lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the user is one line, an unexpected one two, an interruption 130, and no traceback in any case."""
    monkeypatch.delenv("RTSYSID_TRACEBACK", raising=False)
    monkeypatch.setitem(cli.commands, "failing", failing(error))  # type: ignore[arg-type]
    done = command("failing", check=code)
    said = done.stderr.splitlines()
    assert len(said) == lines, said
    assert all(line.startswith("rtsysid: ") and line.isprintable() for line in said)


def test_an_unexpected_error_says_where_and_with_what(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its place, whom to tell, and the versions; the traceback is there where it is asked for."""
    monkeypatch.setitem(cli.commands, "failing", failing(KeyError("x")))  # type: ignore[arg-type]
    monkeypatch.delenv("RTSYSID_TRACEBACK", raising=False)
    first, second = command("failing", check=70).stderr.splitlines()
    assert first.startswith("rtsysid: unexpected KeyError in test_faults.py, line ")
    assert "issue in the project's repository" in second
    assert all(name in second for name in ("rtsysid 0", "Python 3", "numpy 2", "torch "))
    monkeypatch.setenv("RTSYSID_TRACEBACK", "1")
    assert "Traceback (most recent call last)" in command("failing", check=70).stderr


def test_an_input_that_may_not_be_read_is_one_line(tmp_path: Path, bundle_folder: Path, recording: Path) -> None:
    """A folder, a pipe, a missing file or a name beyond the limit of the file system, where a file is asked for."""
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for wrong in (tmp_path / name for name in ("folder.csv", "pipe.csv", "none.csv", "x" * 300 + ".csv")):
        for verb in (
            ("train", wrong, "--data", recording, "-o", tmp_path / "run"),
            ("replay", bundle_folder, wrong),
            ("replay", bundle_folder, recording, "--against", wrong),
            ("evaluate", bundle_folder, wrong),
            ("recover", wrong, "-o", tmp_path / "out.mcap"),
        ):
            assert refused_here(*verb, code=1)
        assert refused_here("verify", wrong, code=2)
        assert refused_here("replay", wrong, recording, code=2)


def test_a_terminal_without_a_letter_shows_its_escape(tmp_path: Path) -> None:
    """A terminal whose encoding lacks a letter of a name shows an escape, and the command goes on."""
    (tmp_path / "a.csv").write_text("t,\u4e2d\n0,1\n0.1,2\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "rtsysid", "info", str(tmp_path / "a.csv")], capture_output=True, text=True, check=True,
        cwd=ROOT, env=os.environ | {"PYTHONIOENCODING": "latin-1"}, encoding="latin-1",
    )  # fmt: skip
    assert r"\u4e2d" in done.stdout


def test_a_reader_that_goes_ends_quietly(recording: Path) -> None:
    """`rtsysid info RECORDING | head -1` ends with the code of SIGPIPE and without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "rtsysid", "info", str(recording)], stdout=writing, stderr=subprocess.PIPE, check=False,
        cwd=ROOT,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (faults.CLOSED_PIPE, b"")
