"""The same messages of ROS in every container, and the arrays that they are read as."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from mcap.writer import CompressionType
from support.ros_files import (
    Message,
    db3,
    mcap,
    ros1,
    split_folder,
    wired,
)

from rtsysid.rosmsg import ROS1

WAYS: dict[str, Callable[[Path, list[Message]], object]] = {
    **{
        f"chunks by {each.name}.mcap": lambda path, given, each=each: mcap(path, wired(given), compression=each)
        for each in CompressionType
    },
    "no chunks.mcap": lambda path, given: mcap(path, wired(given), use_chunking=False),
    "no index.mcap": lambda path, given: mcap(
        path, wired(given), repeat_channels=False, repeat_schemas=False, use_statistics=False
    ),
    "of ROS 1.mcap": lambda path, given: mcap(path, wired(given, ROS1)),
    "plain.bag": lambda path, given: ros1(path, wired(given, ROS1)),
    "lz4.bag": lambda path, given: ros1(path, wired(given, ROS1), "lz4"),
    "bz2.bag.active": lambda path, given: ros1(path, wired(given, ROS1), "bz2"),
    "plain.db3": lambda path, given: db3(path, wired(given)),
    "no definitions.db3": lambda path, given: db3(path, wired(given), definitions=False),
    "packed messages.db3": lambda path, given: db3(path, wired(given), packed=True),
    "folder of mcap": lambda path, given: split_folder(path, wired(given), ".mcap"),
    "folder of db3": lambda path, given: split_folder(path, wired(given), ".db3"),
    "packed folder of mcap": lambda path, given: split_folder(path, wired(given), ".mcap", packed=True),
    "packed folder of db3": lambda path, given: split_folder(path, wired(given), ".db3", packed=True),
}
FIELDS = {
    "/joint_states": [f"{array}[{each}]" for array in ("position", "velocity") for each in ("right", "left")],
    "/commands": ["data[0]", "data[1]", "data[2]"],
    "/twist": [f"twist.{kind}.{axis}" for kind in ("linear", "angular") for axis in "xyz"],
}


def expected(topic: str, sent: list[Message]) -> tuple[np.ndarray, np.ndarray]:
    """Log times in s and values of a topic."""
    own = [each for each in sent if each.topic == topic]
    rows = []
    for each in own:
        *_, names, position, velocity, _ = (
            (None, *each.values) if topic == "/joint_states" else (None, [], [], [], None)
        )
        if topic == "/joint_states":
            by_name = {name: (position[k], velocity[k]) for k, name in enumerate(names)}
            rows.append([by_name[name][part] for part in (0, 1) for name in ("right", "left")])
        elif topic == "/commands":
            rows.append([*each.values[2], np.nan][:3])
        else:
            rows.append(each.values[3:])
    return np.array([each.ns // 1000 * 1e-6 for each in own]), np.array(rows, float)
