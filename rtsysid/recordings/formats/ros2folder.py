"""Read a folder that ROS 2 recorded: the files that its `metadata.yaml` lists are one recording."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp
from typing import Any

from zstandard import ZstdError

from rtsysid.errors import TraceError
from rtsysid.guards.limits import checked_growth, checked_size
from rtsysid.recordings.bag import Bag
from rtsysid.recordings.ros.container import MessageFile, opened_file
from rtsysid.recordings.ros.database import Database
from rtsysid.recordings.ros.log import RosLog
from rtsysid.recordings.unpack import zstd_decompressor

_PART = 1 << 20  # bytes of a compressed file in memory at a time
_STORED, _COMPRESSED = (".mcap", ".db3"), (".zstd", ".zst")


class Reader(RosLog):
    """Open a folder of ROS 2. Raises TraceError where none of its files can be read."""

    def __init__(self, path: Path) -> None:
        about, losses = _metadata(path)
        files: list[MessageFile] = []
        for name in about.get("relative_file_paths") or _stored_names(path):
            try:
                files.append(self._file(path / PurePosixPath(str(name)).name, str(about.get("ros_distro"))))
            except TraceError as error:
                losses.append(f"{error.what}: {error.found}")
        if not files:
            raise TraceError(f"recording {path.name}", "; ".join(losses) or "it lists no file", "record it again")
        losses += [_stated(about)] if any(each.missing for each in files) else []
        super().__init__(path, files, "; ".join(filter(None, losses)))

    @cached_property
    def _scratch(self) -> Path:
        """Make a folder for the content of compressed files, which goes when the log does."""
        folder = mkdtemp(prefix="rtsysid-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    def _file(self, path: Path, distro: str) -> MessageFile:
        if path.suffix in _COMPRESSED:
            path = _unpacked_file(path, self._scratch / path.stem)
        if path.suffix not in _STORED:
            remedy = "convert it with: ros2 bag convert"
            raise TraceError(f"file {path.name}", "it is neither MCAP nor a database", remedy)
        return Bag.readable(path) if path.suffix == ".mcap" else Database(path, distro)


def _metadata(path: Path) -> tuple[Mapping[str, Any], list[str]]:
    """Read `metadata.yaml`. A file that cannot be read gives nothing, and is reported."""
    from ruamel.yaml import YAML

    file = path / "metadata.yaml"
    checked_size(f"recording {path.name}: metadata.yaml", file.stat().st_size, "config_bytes")
    with opened_file(file) as stream:
        text = stream.read().decode(errors="replace")
    try:
        about = YAML(typ="safe").load(text)["rosbag2_bagfile_information"]
        if not isinstance(about.get("relative_file_paths"), list):
            raise TypeError("it lists no files")  # noqa: TRY301 - one remedy for whatever is wrong in it
    except Exception:  # a parser of YAML fails in many ways, also by recursion
        return {}, ["metadata.yaml cannot be read, and all files of the folder are taken"]
    return about, []


def _stored_names(path: Path) -> list[str]:
    ends = tuple(f"{stored}{packed}" for stored in _STORED for packed in ("", *_COMPRESSED))
    return sorted(each.name for each in path.iterdir() if each.name.endswith(ends))


def _stated(about: Mapping[str, Any]) -> str:
    """Say how much the recording held, as far as `metadata.yaml` states it."""
    try:
        seconds = float(about["duration"]["nanoseconds"]) / 1e9
        return f"it held {int(about['message_count'])} messages in {seconds:.1f} s"
    except (LookupError, TypeError, ValueError):
        return ""


def _unpacked_file(path: Path, target: Path) -> Path:
    """Unpack a file up to its damage; its reader finds it cut off. Raises TraceError where it exceeds the limits."""
    size = 0
    with opened_file(path) as source, target.open("wb") as out, suppress(ZstdError):
        held = path.stat().st_size
        for part in zstd_decompressor().read_to_iter(source, write_size=_PART):
            size = checked_growth(f"file {path.name}", size + len(part), held, "text_growth")
            out.write(part)
    return target
