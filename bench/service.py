"""What a service costs: time from its start to the first byte for the board, resident memory while it records, and the
ages of its answers with and without updates of the bundle. `python -m bench.service [BUNDLE]`, of a bundle with C.

Without a bundle one is trained on simulated flights in about half a minute.
"""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tty
from functools import partial
from pathlib import Path
from typing import Any

from bench import arguments
from firmware_bridge.device import SimulatedDevice
from firmware_bridge.schema import Schema
from rtsysid.cli.console import table
from rtsysid.config import config_text, parse_config
from rtsysid.model.bundle import Bundle
from rtsysid.model.linked import point
from rtsysid.recordings.simulate import fly

STARTS, SECONDS = 7, 20.0
RUN = [sys.executable, "-m", "rtsysid", "run"]


def main(path: str | None = None) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = Bundle.open(path or trained(folder))
        begin = partial(start, bundle, compiled_environment(folder))
        begin()  # writes the bytecode, as an installation does
        ours = statistics.median(begin() for _ in range(STARTS))
        peer = statistics.median(import_numpy() for _ in range(STARTS))
        print(f"from start to the first byte for the board: {ours * 1e3:.0f} ms, median of {STARTS};")
        print(f"{ours / peer:.1f} times Python with NumPy ({peer * 1e3:.0f} ms)\n")
        (flight,) = fly(1, 60.0, seed=1).episodes
        schema = Schema.of(bundle.spec.channels, bundle.spec.rate_hz)
        with SimulatedDevice(schema, flight.values, repeat=True) as device:
            found = [session(bundle, device.port, folder / f"{updates}", updates) for updates in (False, True)]
        print(table(["updates", "answers", "stale", "p50 ms", "p99 ms", "worst ms", "RSS MB"], found))


def trained(folder: Path) -> Path:
    """A small model of the simulated quadrotor, hardly trained."""
    from export.bundle import export
    from rtsysid.train.fit import begin

    text = config_text("quadrotor").replace("effort = 0.75", "effort = 0.002")
    config = parse_config(text)
    for _ in begin(config, fly(3, 30.0), folder / "run", text).epochs():
        pass
    export(folder / "run", folder / "bundle", ("c",))
    return folder / "bundle"


def compiled_environment(folder: Path) -> dict[str, str]:
    """The environment of an installed program: its bytecode is kept, whatever this process was told."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}


def start(bundle: Bundle, environment: dict[str, str]) -> float:
    """Seconds from the start of the process to its first byte on the line."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    begun = time.monotonic()
    command = [*RUN, str(bundle.folder), os.ttyname(slave), "--backend", "c", "--record", f"{tempfile.mktemp()}.mcap"]
    silent = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdout=silent, stderr=silent) as process:
        select.select([master], [], [], 60)
        seconds = time.monotonic() - begun
        process.kill()
    for end in (master, slave):
        os.close(end)
    Path(command[-1]).unlink(missing_ok=True)
    return seconds


def import_numpy() -> float:
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", "import numpy"], check=True)
    return time.monotonic() - begun


def session(bundle: Bundle, port: str, folder: Path, updates: bool) -> list[str]:
    """Run a session that records; with `updates` another bundle comes each second."""
    folder.mkdir()
    copies = [bundle.rewritten(folder / f"b{k}", {"card.md": f"{k}\n".encode()}).signed().folder for k in range(2)]
    link = folder / "live"
    point(link, copies[0])
    watch = ["--watch", "--trial", "0.2"] if updates else []
    command = [
        *RUN,
        str(link),
        port,
        "--backend",
        "c",
        "--record",
        str(folder / "r"),
        "--seconds",
        str(SECONDS),
        *watch,
    ]
    with subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        for count in range(round(SECONDS) - 2):
            time.sleep(1.0)
            if updates and count > 3:
                point(link, copies[count % 2])
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            resident = next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)
        report: dict[str, Any] = json.loads(process.communicate()[0])
    shutil.rmtree(folder)
    taken = str(report.get("updates", {}).get("taken", "none"))
    ages = [f"{report[name] * 1e3:.2f}" for name in ("p50", "p99", "worst")]
    return [taken, str(sum(report["statuses"].values())), f"{report['stale']}", *ages, f"{resident:.0f}"]


if __name__ == "__main__":
    main(*arguments(__doc__)[:1])
