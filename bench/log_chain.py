"""Take every real log from the first command to the last, without editing a file; one line for each."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from rtsysid.cli import cli
from rtsysid.errors import RtsysidError
from rtsysid.recordings.formats import is_log_folder, stored_bytes
from rtsysid.recordings.home import home
from rtsysid.recordings.names import recording_files

EFFORT = 0.01


def main() -> None:
    """Print what each command says in short; a command that fails ends its line with the error."""
    logs = home() / "logs"
    folders = [logs, *(each for each in sorted(logs.iterdir()) if each.is_dir() and not is_log_folder(each))]
    every = [log for folder in folders for log in recording_files(folder)]
    for log in sorted(every, key=stored_bytes):
        print(f"{log.relative_to(logs)!s:38}", chain_of(log), flush=True)


def chain_of(log: Path) -> str:
    """Run the commands in a row; return what they say in one line."""
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        config, run, bundle = (str(Path(folder) / name) for name in ("robot.toml", "run", "bundle"))
        try:
            said("info", log)
            drafted = said("init", log, "-o", config, "--yes")
            checked = said("check", log, config)
            said("train", config, "--data", log, "-o", run, "--effort", EFFORT, "--set", "train.stride=20")
            said("export", run, "-o", bundle, "--target", "onnx")
            evaluated = said("evaluate", bundle, log, "--stride", 50)
            replayed = said("replay", bundle, log)
        except (RuntimeError, RtsysidError) as error:
            return str(error)
    channels = f"{len(drafted['inputs'])} -> {len(drafted['outputs'])} at {drafted['rate_hz']:g} Hz"
    findings = f"{checked['grave']} grave, {len(checked['findings'])} in all"
    errors = f"error {of_linear(evaluated['errors']):.2f} of linear in {evaluated['forecasts']} forecasts"
    live = f"{replayed['predictions']} of {replayed['samples']} live"
    return f"{channels:20} {findings:18} {errors:41} {live:22} {time.process_time() - begun:3.0f} s"


def of_linear(errors: dict[str, dict[str, list[float]]]) -> float:
    """Return the error of the model, summed over the horizon, as a share of that of the linear model, over outputs."""
    linear = errors["linear ARX"]
    return float(np.mean([np.sum(errors["model"][name]) / np.sum(linear[name]) for name in linear]))


def said(*words: object) -> dict[str, Any]:
    """Run a command and return what it reports. Raises RuntimeError where it fails."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = cli.main([*map(str, words), "--json"], standalone_mode=False)
    if code:
        raise RuntimeError(f"{words[0]}: exit code {code}")
    return dict(json.loads(out.getvalue()))


if __name__ == "__main__":
    main()
