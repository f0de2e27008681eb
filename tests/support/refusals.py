"""Read recordings that shall be refused, in a process that counts its memory.

Run as a program: ``python -m support.refusals FILE..`` prints one JSON object, the line of each refusal and the peak of
the memory above that before the first file. ``--allocate BYTES`` allocates instead, to prove the count.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import h5py
import pyulog
from support.memory import peak

from rtsysid.errors import RtsysidError
from rtsysid.recordings.formats import ardupilot, betaflight, csv, hdf5, mat, mcap, npz, parquet, ros1bag, ros2db, ulog
from rtsysid.recordings.trace import Trace


def refusal(path: Path) -> str:
    """Return the line with which a recording is refused; raise every other exception."""
    try:
        trace = Trace.read(path)
    except RtsysidError as error:
        return str(error)
    return f"read {len(trace)} rows"


def main(names: list[str]) -> dict[str, object]:
    """Read the files; see the module."""
    own = (ardupilot, betaflight, csv, hdf5, mat, mcap, npz, parquet, ros1bag, ros2db, ulog, h5py, pyulog)
    assert own  # their libraries count before the first file
    begun = peak()
    if names[0] == "--allocate":
        assert len(b"\1" * int(names[1]))  # touched, not only reserved
        return {"peak": peak() - begun}
    lines = {name: refusal(Path(name)) for name in names}
    return {"lines": lines, "peak": peak() - begun}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:])))
