"""Time of two workers of a sweep on a PostgreSQL server, in ratio to one worker's: as many trials, to their end."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rtsysid.cli.console import table

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # server and sweep are those of the tests
from support.postgres import postgres_server
from support.sweeps import shown, small_sweep

TRIALS, EPOCHS = 40, 150


def main() -> None:
    seconds = {workers: _seconds(workers) for workers in (1, 2)}
    rows = [[str(workers), f"{took:.0f}", f"{took / seconds[1]:.2f}"] for workers, took in seconds.items()]
    print(table(["workers", f"{TRIALS} trials, s", "of one worker"], rows))


def _seconds(workers: int) -> float:
    """Run the sweep on a server of its own, with so many workers of one job each."""
    with postgres_server() as address, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = [*small_sweep(folder, EPOCHS), "--trials", TRIALS, "--no-pruning", "--jobs", 1, "--storage", address]
        command = [sys.executable, "-m", "rtsysid", *map(str, given)]
        begun = time.perf_counter()
        running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(workers)]
        codes = [each.wait() for each in running]
        took = time.perf_counter() - begun
        if any(codes) or len(shown(folder)) != TRIALS:
            raise SystemExit(f"bench: the sweep of {workers} workers ended with {codes}, {len(shown(folder))} trials")
    return took
