"""Download and verify public recordings: publishers, checksums and terms of use.

`checksums.txt` holds SHA-256, size and path of every file. SHA-256 and size are those of the content before gzip: a
published CSV may be stored as ``.csv.gz``.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tomllib
import urllib.request
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

import msgspec

from rtsysid.errors import TraceError
from rtsysid.recordings.home import home
from rtsysid.storage import replacing
from rtsysid.storage.products import DATASET

TIMEOUT = 60.0  # s without data
LARGEST_DOWNLOAD = 1 << 28  # bytes of one download
FileState = Literal["present", "absent", "differs"]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Describe a set of recordings. ``page``: the publisher's web page. ``url``, ``zip``: download addresses, if known.

    ``reach``: folders of the set that ``url`` serves.
    """

    title: str
    terms: str
    page: str
    url: str = ""
    reach: tuple[str, ...] = ()
    zip: str = ""


class File(msgspec.Struct, frozen=True):
    """Describe a file: path in the recordings folder, SHA-256 and size in bytes of its content before gzip."""

    path: str
    sha256: str
    bytes: int

    @property
    def folder(self) -> str:
        """Return the name of the file's set."""
        return self.path.split("/", 1)[0]

    @property
    def stem(self) -> str:
        """Return the publisher's name of the file: its path in the set without .gz."""
        return self.path.split("/", 1)[1].removesuffix(".gz")


@cache
def sources() -> dict[str, Source]:
    """Return all sets by the names of their folders."""
    text = resources.files("rtsysid.benchmarks").joinpath("sources.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Source])


@cache
def files() -> tuple[File, ...]:
    """List the files of all sets."""
    lines = resources.files("rtsysid.benchmarks").joinpath("checksums.txt").read_text("utf-8").splitlines()
    cells = [line.split(maxsplit=2) for line in lines]
    return tuple(File(path, digest, int(size)) for digest, size, path in cells)


def source_files(name: str) -> tuple[File, ...]:
    """List the files of a set. Raises TraceError for an unknown name."""
    if name not in sources():
        raise TraceError(f"recordings {name!r}", "not known", f"choose among {', '.join(sources())}")
    return tuple(file for file in files() if file.folder == name)


def file_state(file: File, folder: Path) -> FileState:
    """Check whether a file is in the recordings folder `folder` with the recorded content."""
    path = folder / file.path
    if not path.is_file():
        return "absent"
    try:
        return "present" if _digest(_file_content(path)) == file.sha256 else "differs"
    except (OSError, EOFError, gzip.BadGzipFile):
        return "differs"


def fetch(name: str, folder: Path | None = None) -> Iterator[tuple[File, FileState]]:
    """Download the absent files of a set from its publisher, and yield each file with its state.

    Files that exist are not changed. `folder` is the recordings folder, by default `rtsysid.recordings.home.home()`.
    Raises TraceError where no address is known, the publisher does not respond, or the SHA-256 is wrong; such a file
    is not written. Raises StorageError where a file cannot be written.
    """
    folder = folder or home()
    wanted, source, archive = source_files(name), sources()[name], None
    for file in wanted:
        if file_state(file, folder) == "absent":
            if source.zip and archive is None:
                archive = _download(source.zip, source.page)
            content = _address(file, source) if archive is None else _member(archive, file, source)
            _keep(content, file, source, folder / file.path)
        yield file, file_state(file, folder)


def _address(file: File, source: Source) -> bytes:
    if file.stem.split("/")[0] not in source.reach:
        remedy = f"get it from {source.page} and put it there"
        raise TraceError(f"recording {file.path}", "no address for an automatic download", remedy)
    return _download(source.url.format(stem=file.stem), source.page)


def _member(archive: bytes, file: File, source: Source) -> bytes:
    """Extract the file of this name and size from a zip archive, from any folder, ignoring case."""
    wanted = Path(file.stem).name.lower()
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            for info in opened.infolist():
                if Path(info.filename).name.lower() == wanted and info.file_size == file.bytes:
                    return opened.read(info)
    except zipfile.BadZipFile:
        pass
    raise TraceError(f"archive {source.zip}", f"no {wanted} of {file.bytes} bytes in it", f"see {source.page}")


def _download(url: str, page: str) -> bytes:
    if not url.startswith("https://"):
        raise TraceError(f"download {url}", "not HTTPS", f"get it from {page}")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            content: bytes = response.read(LARGEST_DOWNLOAD)
    except OSError as error:  # urllib raises subclasses of OSError
        reason = getattr(error, "reason", None) or error
        raise TraceError(f"download {url}", f"no response ({reason})", f"check the network, or see {page}") from None
    return content


def _keep(content: bytes, file: File, source: Source, path: Path) -> None:
    actual = _digest(content)
    if actual != file.sha256:
        mismatch = f"SHA-256 {actual[:12]}, not {file.sha256[:12]}"
        raise TraceError(f"download of {file.path}", mismatch, f"the publisher has changed it: see {source.page}")
    with replacing(path, DATASET) as scratch:
        scratch.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _file_content(path: Path) -> bytes:
    raw = path.read_bytes()
    return gzip.decompress(raw) if path.suffix == ".gz" else raw


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
