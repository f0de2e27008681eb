"""Where the recordings come from, what they must be to the last byte, and under which terms one may use them.

`checksums.txt` holds SHA-256, size and path of every file, of its content before gzip: what a publisher offers as CSV
may be kept as ``.csv.gz``.
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

TIMEOUT = 60.0  # seconds without a byte
LARGEST = 1 << 28  # bytes of one download
FileState = Literal["present", "absent", "differs"]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One set of recordings. ``page``: for a person. ``url``, ``zip``: what `fetch` may ask, where it is known.

    ``reach``: folders of the set that ``url`` is known for.
    """

    title: str
    terms: str
    page: str
    url: str = ""
    reach: tuple[str, ...] = ()
    zip: str = ""


class File(msgspec.Struct, frozen=True):
    """One file under the recordings folder: its path there, and SHA-256 and bytes of its content before gzip."""

    path: str
    sha256: str
    bytes: int

    @property
    def folder(self) -> str:
        """Name of the set that it belongs to."""
        return self.path.split("/", 1)[0]

    @property
    def stem(self) -> str:
        """Path under the set's folder without .gz: how publishers name it."""
        return self.path.split("/", 1)[1].removesuffix(".gz")


@cache
def sources() -> dict[str, Source]:
    """Every set by the name of its folder."""
    text = resources.files("rtsysid.benchmarks").joinpath("sources.toml").read_text()
    return msgspec.convert(tomllib.loads(text), dict[str, Source])


@cache
def files() -> tuple[File, ...]:
    """Every file of every set."""
    lines = resources.files("rtsysid.benchmarks").joinpath("checksums.txt").read_text().splitlines()
    cells = [line.split(maxsplit=2) for line in lines]
    return tuple(File(path, digest, int(size)) for digest, size, path in cells)


def source_files(name: str) -> tuple[File, ...]:
    """Files of one set. Raises TraceError for a name that is none."""
    if name not in sources():
        raise TraceError(f"recordings {name!r}", "not known", f"choose among {', '.join(sources())}")
    return tuple(file for file in files() if file.folder == name)


def file_state(file: File, folder: Path) -> FileState:
    """Whether the file lies in the recordings folder, and is what it should be."""
    path = folder / file.path
    if not path.is_file():
        return "absent"
    try:
        return "present" if _digest(_file_content(path)) == file.sha256 else "differs"
    except (OSError, EOFError, gzip.BadGzipFile):
        return "differs"


def fetch(name: str, folder: Path | None = None) -> Iterator[tuple[File, FileState]]:
    """Get what is absent of a set from its publisher, one file per item; what is present is left as it is.

    `folder` is the recordings folder, by default where `rtsysid.recordings.home` looks. Raises TraceError where no
    address is known, nothing answers, or something else comes than the recorded SHA-256 says; then nothing is written.
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
        raise TraceError(f"recording {file.path}", "no address that a program may fetch", remedy)
    return _download(source.url.format(stem=file.stem), source.page)


def _member(archive: bytes, file: File, source: Source) -> bytes:
    """The archive's file of this name, in whatever folder and case."""
    wanted = Path(file.stem).name.lower()
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            for info in opened.infolist():
                if Path(info.filename).name.lower() == wanted and info.file_size == file.bytes:
                    return opened.read(info)
    except zipfile.BadZipFile:
        pass
    raise TraceError(f"archive {source.zip}", f"no {wanted} of {file.bytes} bytes in it", f"look at {source.page}")


def _download(url: str, page: str) -> bytes:
    if not url.startswith("https://"):
        raise TraceError(f"download {url}", "not HTTPS", f"get it from {page}")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            content: bytes = answer.read(LARGEST)
    except OSError as error:  # urllib's errors are such, too
        reason = getattr(error, "reason", None) or error
        raise TraceError(
            f"download {url}", f"no answer ({reason})", f"with a network try again, or see {page}"
        ) from None
    return content


def _keep(content: bytes, file: File, source: Source, path: Path) -> None:
    found = _digest(content)
    if found != file.sha256:
        what = f"SHA-256 {found[:12]}, not {file.sha256[:12]}"
        raise TraceError(f"download of {file.path}", what, f"the publisher has changed it: see {source.page}")
    with replacing(path) as scratch:
        scratch.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _file_content(path: Path) -> bytes:
    raw = path.read_bytes()
    return gzip.decompress(raw) if path.suffix == ".gz" else raw


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
