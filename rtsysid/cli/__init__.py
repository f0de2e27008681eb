"""The command line: each command calls one public function, and imports what it needs when it runs."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from contextlib import suppress
from io import TextIOWrapper
from typing import NoReturn

import click

from rtsysid import __version__
from rtsysid.cli import console, faults
from rtsysid.cli.options import verbosity
from rtsysid.cli.progress import StageLog
from rtsysid.cli.sections import Sections
from rtsysid.cli.table import SECTIONS
from rtsysid.guards.stages import NAME as STAGES


@click.group(cls=Sections, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
@verbosity
def cli() -> None:
    """Learn a robot's dynamics from its logs and run the model next to the controller, sample by sample.

    \b
    rtsysid demo                                   the whole path, in a minute or two
    rtsysid init LOG -o CONFIG.toml                a configuration for your own log
    rtsysid train CONFIG.toml --data LOG -o RUN    a model from recordings
    rtsysid report RUN --data LOG -o report.html   how good it is
    rtsysid export RUN -o BUNDLE                   one verified folder for the robot
    rtsysid run BUNDLE PORT                        live, with a board
    """


for section, members in SECTIONS.items():
    cli.add_section(section, members)


def main() -> None:
    """Run the command line. An error is one line and its exit code, an unexpected one is two lines and exit code 70.

    With RTSYSID_TRACEBACK=1 the traceback is printed before.
    """
    _accept_any_text()
    display = console.Shown.begin()
    _show_log()
    try:
        code = _run()
        display.close()
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()  # a reader that has gone is noticed here
    except BaseException as error:
        display.close()
        _end_with(error)
    sys.exit(code)


def _run() -> int:
    """Run the command of `sys.argv` and return its exit code.

    `cli.main` would make an interruption of the end of an input, and hide that the reader of the output has gone.
    """
    try:
        if "_RTSYSID_COMPLETE" in os.environ:  # the shell asks for completions
            cli.main(prog_name="rtsysid")
        with cli.make_context("rtsysid", sys.argv[1:]) as context:
            cli.invoke(context)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 1
    except click.exceptions.Exit as end:
        return end.exit_code
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _accept_any_text() -> None:
    """Let a terminal that has no sign for a letter show its escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _show_log() -> None:
    """Print on stderr what the library says of its work, such as what it replaced, and the stage it has reached."""
    log, stages = logging.getLogger("rtsysid"), logging.getLogger(STAGES)
    log.setLevel(logging.INFO)
    if not log.handlers:
        log.addHandler(console.StderrLog())
    stages.propagate = False
    stages.handlers = [StageLog(console.stage)]


def _end_with(error: BaseException) -> NoReturn:
    code, lines = faults.outcome(error)
    with suppress(OSError, ValueError):  # stderr may be closed, too
        if os.environ.get("RTSYSID_TRACEBACK") or (console.Shown.verbose and code == faults.UNEXPECTED):
            traceback.print_exception(error)
        for line in lines:
            console.echo(f"rtsysid: {line}", err=True, colour="red")
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End at once: the thread of a file reader may still wait for a recording, and would abort a normal exit."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
