"""Read the console transcripts of a document, run their commands, and compare what they print.

A block that begins with ```` ```console ```` is a transcript. A line `$ command` is run; the lines below it are what it
prints. A line `...` is any number of lines. A comment before a block, `<!-- not run: REASON -->`, says why no test runs
it.

Words are compared exactly. Whole numbers must be equal, others may differ by a factor of 1.5: the processor decides
their last digits. Where a line is about time, memory or hashes (`VARYING`), any number will do.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from support.live_parts import PATIENCE_S
from support.shell import command

BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>[^>]+) -->\n+)?```console\n(?P<text>.*?)```", re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")
VARYING = re.compile(
    r"\b(us|ms|misses|instructions|flash|ram|image|age|stale|skipped|answers|streaming|boot|id|passed|delay|weights"
    r"|moments in|gc freeze|extrapolating)\b|Hz\b"
)
DIGEST = re.compile(r"\b[0-9a-f]{8,}\b")
ANY = "..."
LIVE = {"sim-device", "run"}  # in a process of their own: they set up memory and threads for real time
SHELL = {"printf", "mkdir", "mv", "cp", "ls"}  # other programs that a transcript may call


class Step(NamedTuple):
    """One command of a transcript, and the lines that it prints."""

    line: str
    printed: list[str]


class Transcript(NamedTuple):
    """One block of a document: its line, its commands, and why it is not run, if so."""

    line: int
    steps: list[Step]
    reason: str


def transcripts(text: str) -> Iterator[Transcript]:
    """Yield the transcripts of a document."""
    for found in BLOCK.finditer(text):
        steps: list[Step] = []
        for line in found["text"].splitlines():
            if line.startswith("$ "):
                steps.append(Step(line[2:], []))
            elif line and steps:
                steps[-1].printed.append(line)
        yield Transcript(text.count("\n", 0, found.start("text")), steps, (found["reason"] or "").strip())


def play(text: str, folder: Path) -> None:
    """Run every transcript of a document in a folder, and compare what is printed. Raises AssertionError."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        with ExitStack() as running:
            for transcript in transcripts(text):
                for step in transcript.steps if not transcript.reason else ():
                    differs = difference(step.printed, *printed_by(step.line, running))
                    assert not differs, f"line {transcript.line}: $ {step.line}\n{differs}"
    finally:
        os.chdir(before)


def printed_by(line: str, running: ExitStack) -> tuple[str, str]:
    """Run one line, and return what it printed on stdout and stderr."""
    if shlex.split(line)[0] in SHELL or ">" in line:
        line = line.replace("rtsysid", f"{sys.executable} -m rtsysid", 1) if line.startswith("rtsysid") else line
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
        return done.stdout, done.stderr
    program, *arguments = [each for word in shlex.split(line, comments=True) for each in glob.glob(word) or [word]]
    assert program == "rtsysid", f"a transcript may not call {program}"
    if arguments[0] in LIVE:
        live = running.enter_context(started(arguments))
        return (announced(live), "") if arguments[0] == "sim-device" else live.communicate(timeout=PATIENCE_S)
    done = command(*arguments, check=None)
    assert done.returncode in (0, 1), done.stderr
    assert (done.returncode == 1) == any(each.startswith("rtsysid: ") for each in done.stderr.splitlines()), done.stderr
    return done.stdout, done.stderr


@contextmanager
def started(arguments: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Start the command line in this folder; it is killed at the end if it still runs."""
    pipe, program = subprocess.PIPE, [sys.executable, "-u", "-m", "rtsysid", *arguments]
    running = subprocess.Popen(program, stdout=pipe, stderr=pipe, text=True)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def announced(board: subprocess.Popen[str]) -> str:
    """Return the lines with which a simulated board says that it is ready."""
    assert board.stdout is not None
    lines: list[str] = []
    end = time.monotonic() + PATIENCE_S
    while not any(line.startswith("channels") for line in lines) and time.monotonic() < end:
        lines.append(board.stdout.readline())
    return "".join(lines)


def difference(wanted: Sequence[str], out: str, err: str) -> str:
    """Return how a transcript differs from what was printed; empty where it agrees. Without lines it says nothing."""
    streams = [[line for line in text.splitlines() if line.strip()] for text in (out, err, f"{err}\n{out}")]
    if not wanted or any(agrees(list(wanted), lines) for lines in streams):
        return ""
    return "\n".join(["the document:", *wanted, "printed:", *streams[2]])


def agrees(wanted: list[str], lines: list[str]) -> bool:
    """Whether the lines are those of the document, where `...` is any number of lines."""
    if not wanted:
        return not lines
    if wanted[0] == ANY:
        return any(agrees(wanted[1:], lines[start:]) for start in range(len(lines) + 1))
    return bool(lines) and alike(wanted[0], lines[0]) and agrees(wanted[1:], lines[1:])


def alike(wanted: str, line: str) -> bool:
    """Whether two lines have the same words, and numbers that agree as far as they can."""
    ours, theirs = shape(wanted), shape(line)
    if NUMBER.sub("#", ours) != NUMBER.sub("#", theirs):
        return False
    pairs = zip(NUMBER.findall(ours), NUMBER.findall(theirs), strict=True)
    return bool(VARYING.search(wanted)) or all(near(a, b) for a, b in pairs)


def shape(line: str) -> str:
    """Return a line without what says nothing: width of columns, and hashes."""
    return " ".join(re.sub(r"-{3,}", "---", DIGEST.sub("HASH", line)).split())


def near(wanted: str, found: str) -> bool:
    """Whether two numbers are equal, or near each other where they are no whole numbers."""
    if wanted.isdigit() and found.isdigit():
        return wanted == found
    a, b = (float(each.replace(",", "")) for each in (wanted, found))
    return a == b or (a * b > 0 and 1 / 1.5 <= a / b <= 1.5)
