"""What the command line says of an exception, and the exit code that follows."""

from __future__ import annotations

import errno
import platform
import sys
import traceback
from importlib.util import find_spec
from pathlib import Path

import click

from rtsysid.errors import RtsysidError

INTERRUPTED = 130  # as after SIGINT
CLOSED_PIPE = 141  # as after SIGPIPE: the reader of the output has gone, `rtsysid info log | head -1`
UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h
OWN_PACKAGES = ("export", "firmware_bridge")  # top-level names that another package may have, too
EXTRAS = {
    "optuna": "sweep",
    "sqlalchemy": "sweep",
    "psycopg": "sweep",
    "matplotlib": "plot",
}  # the extra that brings it, if not [train]
SHOWN_VERSIONS = ("numpy", "torch", "onnxruntime")
CONTINUED = ("train", "compare", "sweep", "benchmark")  # what takes up its own work where it was stopped
STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def outcome(error: BaseException) -> tuple[int, list[str]]:
    """Return the exit code of a command that ended with `error`, and the lines to print on stderr."""
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return INTERRUPTED, [_interrupted()]
    if isinstance(error, BrokenPipeError):
        return CLOSED_PIPE, []
    if isinstance(error, RtsysidError):
        return error.exit_code, [str(error)]
    line = _correctable(error)
    if line is None:
        return UNEXPECTED, _unexpected(error)
    return (5 if isinstance(error, OSError) and error.errno in STORAGE else 1), [line]


def _interrupted() -> str:
    """Say what an interruption left, and how to go on where the command can."""
    goes_on = any(word in CONTINUED for word in sys.argv[1:3])
    return f"stopped; what was finished is kept{'; to continue, give the same command again' if goes_on else ''}"


def _correctable(error: BaseException) -> str | None:
    """Describe an error that the user can correct in one line; None for any other."""
    if isinstance(error, click.ClickException):
        return _usage_line(error)
    if isinstance(error, ModuleNotFoundError):
        return missing_module(error.name or "")
    if isinstance(error, MemoryError):
        return "memory: not enough for this input; give fewer or shorter recordings, or a smaller model"
    if isinstance(error, RecursionError):
        return "input: nested too deeply; give a file that rtsysid or a recorder wrote"
    if isinstance(error, OSError) and (error.filename is not None or error.errno in STORAGE):
        named = "output" if error.filename is None else _path_text(error.filename)
        return f"{named}: {error.strerror or error}; check the path, its permissions and the free space"
    return None


def _usage_line(error: click.ClickException) -> str:
    ctx = getattr(error, "ctx", None)
    command = "rtsysid" if ctx is None else ctx.command_path
    text = " ".join(error.format_message().split()).rstrip(".")  # click lists choices on lines of their own
    return f"{text}; see {command} --help"


def _path_text(name: object) -> str:
    return name.decode(errors="backslashreplace") if isinstance(name, bytes) else str(name)


def missing_module(name: str) -> str:
    """Say in one line why a module cannot be imported: another package hides it, or it is not installed."""
    package, _, inner = name.partition(".")
    other = find_spec(package) if package in OWN_PACKAGES and inner else None
    if other is not None:
        where = other.origin or next(iter(other.submodule_search_locations or ()), "an unknown place")
        return f"package {package}: found another package of this name at {where}; run elsewhere, or rename it"
    return f"{name} is not installed; pip install 'rtsysid[{EXTRAS.get(package, 'train')}]'"


def _unexpected(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    found = f"unexpected {type(error).__name__}{where}: {error}".rstrip(": ")
    ask = "please open an issue in the project's repository with the line above, the command, and its traceback"
    return [found, f"{ask} (set RTSYSID_TRACEBACK=1); versions: {', '.join(_versions())}"]


def _versions() -> list[str]:
    from importlib.metadata import PackageNotFoundError, version  # 4 MB, which no session needs

    from rtsysid import __version__

    found = [f"rtsysid {__version__}", f"Python {platform.python_version()}"]
    for package in SHOWN_VERSIONS:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    return [*found, platform.platform()]
