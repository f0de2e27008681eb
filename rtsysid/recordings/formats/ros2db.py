"""Read a database of ROS 2 (`.db3`) as a log of topics."""

from __future__ import annotations

from pathlib import Path

from rtsysid.recordings.ros.database import Database
from rtsysid.recordings.ros.log import RosLog


class Reader(RosLog):
    """Open a database of ROS 2. Raises TraceError where it is none."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, [Database(path)])
