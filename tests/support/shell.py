"""The command line: as a process, as a call inside the test, and as installed without torch."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from support.live_parts import PATIENCE_S

from rtsysid import cli

ROOT = Path(__file__).parents[2]
Runner = Callable[..., "subprocess.CompletedProcess[str]"]


def rtsysid(*arguments: object, check: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process, to its end. Where the process proves nothing, `command` costs far less."""
    command = [sys.executable, "-m", "rtsysid", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert "Traceback" not in done.stderr, done.stderr
    if check is not None:
        assert done.returncode == check, done.stderr
    return done


def command(*arguments: object, check: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run the command line inside this process, with its own stdout, stderr and exit code."""
    argv, out, err, code = ["rtsysid", *map(str, arguments)], io.StringIO(), io.StringIO(), 0
    with patch("sys.argv", argv), patch.object(cli, "_leave", sys.exit), redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
    if check is not None:
        assert code == check, err.getvalue()
    return subprocess.CompletedProcess(argv, code, out.getvalue(), err.getvalue())


def refused(*arguments: object, code: int, run: Runner = rtsysid) -> str:
    """The one line of an error, after checking that it is one."""
    done = run(*arguments, check=code)
    lines = [line for line in done.stderr.splitlines() if line.startswith("rtsysid:")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def refused_here(*arguments: object, code: int) -> str:
    """The same, of the command line inside this process."""
    return refused(*arguments, code=code, run=command)


@contextmanager
def process(*arguments: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The installed command in a process of its own; it is killed at the end if it still runs."""
    command = [sys.executable, "-u", "-m", "rtsysid", *map(str, arguments)]
    pipe = subprocess.PIPE
    running = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=os.environ | environment)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def ended(running: subprocess.Popen[str], code: int = 0) -> tuple[dict[str, Any], str]:
    """The JSON that it reports, and what it said meanwhile."""
    out, said = running.communicate(timeout=PATIENCE_S * 2)
    assert running.returncode == code, said
    assert "Traceback" not in said, said
    report: dict[str, Any] = json.loads(out) if out else {}
    return report, said


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 64 kB at `folder`; skips the test where this user may not mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("wants the right to mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


EDGE = ROOT / ".venv-edge" / "bin"


def edge(*arguments: str) -> subprocess.CompletedProcess[str]:
    if not (EDGE / "rtsysid").exists():
        pytest.skip("wants the environment that `make test` sets up: make .venv-edge/.ready")
    return subprocess.run([EDGE / arguments[0], *arguments[1:]], capture_output=True, text=True, check=False, cwd="/")
