"""Read a ROS 1 bag as a log of topics."""

from __future__ import annotations

from pathlib import Path

from rtsysid.recordings.ros.log import RosLog
from rtsysid.recordings.ros.ros1 import Ros1Bag


class Reader(RosLog):
    """Open a ROS 1 bag. Raises TraceError where it is none."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, [Ros1Bag(path)])
