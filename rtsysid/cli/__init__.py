"""The command line: each command calls one public function, and imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib.util import find_spec
from typing import NoReturn

import click

from rtsysid import __version__
from rtsysid.cli import (
    benchmark,
    calibrate,
    evaluate,
    find,
    hil,
    info,
    link,
    recording,
    replay,
    report,
    simulate,
    train,
)
from rtsysid.errors import RtsysidError

OWN_PACKAGES = ("export", "firmware_bridge")  # top-level names that another package may have, too


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
    simulate.simulate, info.info, train.train, train.export_command, train.compare_command, train.demo,
    evaluate.verify_command, evaluate.evaluate_command, report.report_command, calibrate.calibrate,
    replay.replay_command, link.run, link.record, link.sim_device, recording.recover, hil.hil,
    benchmark.benchmark_command, benchmark.data, find.index, find.find_command,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """Run the command line. An error of the project is one line and its exit code, without a traceback."""
    try:
        cli.main(standalone_mode=False)
    except RtsysidError as error:
        click.echo(f"rtsysid: {error}", err=True)
        _leave(error.exit_code)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        click.echo("rtsysid: stopped; what was finished is kept", err=True)
        sys.exit(130)
    except ModuleNotFoundError as error:
        click.echo(f"rtsysid: {missing_module(error.name or '')}", err=True)
        sys.exit(1)


def missing_module(name: str) -> str:
    """Say in one line why a module cannot be imported: another package hides it, or it is not installed."""
    package, _, inner = name.partition(".")
    other = find_spec(package) if package in OWN_PACKAGES and inner else None
    if other is not None:
        where = other.origin or next(iter(other.submodule_search_locations or ()), "an unknown place")
        return f"package {package}: found another package of this name at {where}; run elsewhere, or rename it"
    return f"{name} is not installed; pip install 'rtsysid[train]'"


def _leave(code: int) -> NoReturn:
    """End at once: the thread of a file reader may still wait for a recording, and would abort a normal exit."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)
