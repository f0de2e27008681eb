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
from rtsysid.cli import (
    benchmark,
    calibrate,
    check,
    console,
    evaluate,
    faults,
    find,
    hil,
    info,
    init,
    linearise,
    link,
    recording,
    replay,
    report,
    simulate,
    sweep,
    train,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Learn a robot's dynamics from its logs and run the model next to the controller, sample by sample.

    \b
    rtsysid demo                                   the whole path in three minutes
    rtsysid train CONFIG.toml --data LOGS -o RUN   a model from recordings
    rtsysid export RUN -o BUNDLE                   one verified folder for the robot
    rtsysid replay BUNDLE TRACE                    the live path on a recording
    rtsysid run BUNDLE PORT                        the live path with a board
    """


for command in (
    simulate.simulate, info.info, init.init, init.convert_command, check.check_command, train.train,
    train.export_command, train.compare_command, train.demo, evaluate.verify_command, evaluate.evaluate_command,
    linearise.linearise_command,
    report.report_command, calibrate.calibrate, replay.replay_command, link.run, link.record, link.sim_device,
    recording.recover, hil.hil,
    benchmark.benchmark_command, benchmark.data, find.index, find.find_command, sweep.sweep,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """Run the command line. An error is one line and its exit code, an unexpected one is two lines and exit code 70.

    With RTSYSID_TRACEBACK=1 the traceback is printed before.
    """
    _accept_any_text()
    _show_log()
    try:
        code = _run()
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()  # a reader that has gone is noticed here
    except BaseException as error:
        _end_with(error)
    sys.exit(code)


def _run() -> int:
    """Run the command of `sys.argv` and return its exit code.

    `cli.main` would make an interruption of the end of an input, and hide that the reader of the output has gone.
    """
    if "_RTSYSID_COMPLETE" in os.environ:  # the shell asks for completions
        cli.main(prog_name="rtsysid")
    try:
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
    """Print on stderr what the library says of its work, such as what it replaced."""
    log = logging.getLogger("rtsysid")
    log.setLevel(logging.INFO)
    if not log.handlers:
        log.addHandler(console.StderrLog())


def _end_with(error: BaseException) -> NoReturn:
    code, lines = faults.outcome(error)
    with suppress(OSError, ValueError):  # stderr may be closed, too
        if os.environ.get("RTSYSID_TRACEBACK"):
            traceback.print_exception(error)
        for line in lines:
            console.echo(f"rtsysid: {line}", err=True)
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End at once: the thread of a file reader may still wait for a recording, and would abort a normal exit."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
