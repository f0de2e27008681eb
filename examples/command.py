"""What the commands of the examples share: a bundle of the right robot, and errors of one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from task import OUTPUTS

from rtsysid import Predictor
from rtsysid.errors import RtsysidError, SpecError
from rtsysid.recordings.true_model import INPUTS

MOST = 1000  # flights of a row


class Arguments(argparse.ArgumentParser):
    """Arguments whose errors are those of the project."""

    def error(self, message: str) -> NoReturn:
        """Raise SpecError."""
        raise SpecError("arguments", message, f"see {self.prog} --help")


def load(folder: Path | str) -> Predictor:
    """Open a bundle of the preset quadrotor. Raises SpecError for one of another robot."""
    predictor = Predictor.load(folder)
    names = [channel.name for channel in predictor.spec.channels]
    if predictor.spec.n_inputs != INPUTS or tuple(names[INPUTS:]) != OUTPUTS:
        raise SpecError(f"bundle {folder}", f"channels {', '.join(names)}", "give one of the preset quadrotor")
    return predictor


def flights(text: str) -> int:
    """Read a number of flights."""
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"{text} is not in 1 to {MOST}")
    return int(text)


def run(main: Callable[[], None]) -> None:
    """Run a command; print an error of the user in one line, and end with its exit code."""
    try:
        main()
    except RtsysidError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
