"""Cost of reading logs, compared with the libraries of their programs, and of the commands that begin with a log.

Real logs are read where `RTSYSID_DATA` holds them; long ones are made.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rtsysid.cli.console import table
from rtsysid.recordings.home import data_folder
from rtsysid.recordings.topic_logs import open_topics
from rtsysid.recordings.topics import TopicRequest, read_each

ROWS, RATE_HZ, INPUTS, OUTPUTS = 1_000_000, 200.0, 3, 6
TRIES = 3
IMU = "/imu"
MEASURED = """\
import contextlib, io, pathlib, re, time
from rtsysid.cli import main
begun = time.process_time()
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    with contextlib.suppress(SystemExit):
        main()
most = re.search(r"VmHWM:\\s*(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]
print(time.process_time() - begun, int(most) / 1024)
"""  # the resources that the kernel counts would begin with those of this process


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        bag = long_bag(Path(folder) / "long_bag")
        readers(bag)
        commands({"CSV": long_csv(Path(folder)), "Parquet": long_parquet(Path(folder)), "MCAP of ROS 2": bag})


def readers(bag: Path) -> None:
    """Print the processor time of reading every number of a log, ours and that of its library."""
    rows = [against(f"ROS 2, {ROWS:.0e} messages of IMU", bag, by_rosbags)]
    logs = (data_folder() or Path("data")) / "logs"
    known = {
        "auterion_quadrotor_local.ulg": by_pyulog, "auterion_esc_status_log.ulg": by_pyulog,
        "px4/pyulog_sample_auav_x21.ulg": by_pyulog, "mav_jay_2017-04-10-10-09-32.bag": by_rosbags,
        "mav_jay_2017-04-10-10-12-44_db3": by_rosbags, "mav_jay_2017-04-10-10-12-44_mcap": by_rosbags,
        "ros1/zaki_may9_before1.bag": by_rosbags, "LOG00007.BFL": None, "betaflight/btfl_005.bbl": None,
        "ardupilot/pxf_copter_31-3-2015_83.BIN": None,
    }  # fmt: skip
    rows += [against(name, logs / name, peer) for name, peer in known.items() if (logs / name).exists()]
    print(table(["log", "ours s", "library", "library s", "of the library"], rows))


def against(name: str, path: Path, peer: Callable[[Path], None] | None) -> list[str]:
    ours = least(lambda: everything(path))
    if peer is None:
        return [name, f"{ours:.2f}", "", "", ""]
    theirs = least(lambda: peer(path))
    return [name, f"{ours:.2f}", peer.__name__.removeprefix("by_"), f"{theirs:.2f}", f"{ours / theirs:.2f}"]


def everything(path: Path) -> None:
    """Read all fields of all topics."""
    log = open_topics(path)
    read_each(log, [TopicRequest(each.name, [field.name for field in each.fields]) for each in log.topics])


def by_pyulog(path: Path) -> None:
    from pyulog import ULog

    ULog(str(path))


def by_rosbags(path: Path) -> None:
    """Iterate and deserialise the messages whose fields we read."""
    from rosbags.highlevel import AnyReader

    wanted = {each.name for each in open_topics(path).topics if each.fields}
    with AnyReader([path]) as reader:
        connections = [each for each in reader.connections if each.topic in wanted]
        for connection, _, raw in reader.messages(connections):
            reader.deserialize(raw, connection.msgtype)


def least(action: Callable[[], object]) -> float:
    """Return the processor time of the fastest try in s."""
    costs = []
    for _ in range(TRIES):
        begun = time.process_time()
        action()
        costs.append(time.process_time() - begun)
        if costs[0] > 20:
            break
    return min(costs)


def commands(logs: dict[str, Path]) -> None:
    """Print processor time and memory of info, init and check on long logs; `arrays`: all numbers as float64."""
    rows = []
    for name, path in logs.items():
        config = path.parent / f"{path.stem}.toml"
        for words in (["info", path], ["init", path, "-o", config, "--yes"], ["check", path, config]):
            cpu_s, peak_mb = measured([str(word) for word in words])
            rows.append([name, str(words[0]), f"{cpu_s:.1f}", f"{peak_mb:.0f}"])
    arrays = ROWS * (1 + INPUTS + OUTPUTS) * 8 / 2**20
    print(f"\n{ROWS} rows: arrays of {arrays:.0f} MB; the program itself {measured(['--version'])[1]:.0f} MB")
    print(table(["log", "command", "processor s", "peak MB"], rows))


def measured(words: list[str]) -> tuple[float, float]:
    """Run a command alone; return its processor time in s and the most memory it had in MB."""
    done = subprocess.run([sys.executable, "-c", MEASURED, *words], capture_output=True, text=True, check=True)
    cpu_s, peak_mb = map(float, done.stdout.split()[-2:])
    return cpu_s, peak_mb


def columns() -> dict[str, np.ndarray]:
    """Return columns of a made robot: inputs that are held for 10 rows, and outputs that follow them."""
    rng = np.random.default_rng(0)
    u = np.repeat(rng.normal(size=(ROWS // 10, INPUTS)), 10, 0)
    y = np.cumsum(u[:, np.arange(OUTPUTS) % INPUTS] - rng.normal(size=(ROWS, OUTPUTS)), 0) / RATE_HZ
    named = {f"cmd{k} [V]": u[:, k] for k in range(INPUTS)} | {f"y{k} [rad]": y[:, k] for k in range(OUTPUTS)}
    return {"t": np.arange(ROWS) / RATE_HZ, **named}


def long_csv(folder: Path) -> Path:
    path, every = folder / "long.csv", columns()
    np.savetxt(path, np.column_stack(list(every.values())), "%.6g", ",", header=",".join(every), comments="")
    return path


def long_parquet(folder: Path) -> Path:
    import pyarrow
    from pyarrow import parquet

    path = folder / "long_table.parquet"
    parquet.write_table(pyarrow.table(columns()), path)
    return path


def long_bag(path: Path) -> Path:
    """Write messages of an IMU, and a command for every tenth, as rosbags writes MCAP."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store, rng = get_typestore(Stores.ROS2_HUMBLE), np.random.default_rng(0)
    cdr, header = b"\0\1\0\0", bytes(8) + b"\4\0\0\0imu\0"
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        imu = writer.add_connection(IMU, "sensor_msgs/msg/Imu", typestore=store)
        command = writer.add_connection("/cmd_vel", "geometry_msgs/msg/Twist", typestore=store)
        for k in range(ROWS):
            ns = 10**18 + round(k * 1e9 / RATE_HZ)
            writer.write(imu, ns, cdr + header + rng.normal(size=37).tobytes())
            if k % 10 == 0:
                writer.write(command, ns, cdr + rng.normal(size=6).tobytes())
    return path
