"""Know what rtsysid writes: one `Product` for each kind of file and folder, with the mark by which it is known.

An output of ours may be replaced by another of the same kind. A kind without a mark is never replaced unasked: a
recording cannot be made again.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rtsysid.errors import RtsysidError
from rtsysid.guards.limits import limit
from rtsysid.guards.zips import check_zip_directory
from rtsysid.statuses import BY_NAME
from rtsysid.storage.claim import PREFIX, is_claim

MARK = "rtsysid.json"  # in folders whose files say nothing of rtsysid
RUN_FILES = (
    "config.toml", "run.json", "history.jsonl", "checkpoint.safetensors", "linear_path.npz", "baseline.npz",
    "yardstick.npz", "excerpt.npz", "validation.npz", "weights.safetensors", "expected.json", "judge_path.npz",
    "completed.toml",
    "judge-weights.safetensors",
    *(f"{part}-{name}" for part in ("correction", "replacement", "full")
      for name in ("history.jsonl", "checkpoint.safetensors", "weights.safetensors")),
)  # fmt: skip
_READ = 1 << 20  # bytes of a file from which it is judged
_UNKNOWN = (  # raised by what reads a file that is not ours
    OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, zlib.error,
    zipfile.BadZipFile, RtsysidError,
)  # fmt: skip
_TERMINAL = re.compile(r"/dev/pts/\d+|/dev/ttys\d+")


class Product(NamedTuple):
    """Describe one kind of output.

    ``foreign``: says what makes an existing path not ours, as a clause; empty where all of it is. ``form``: a file; a
    folder that is replaced as a whole; a workspace, which is continued and holds outputs that are judged on their own;
    a link.
    """

    name: str
    form: Literal["file", "folder", "workspace", "link"]
    foreign: Callable[[Path], str]
    suffixes: tuple[str, ...] = ()


def html_head(name: str) -> str:
    """Return the first lines of a page, by which it is known: `name` is that of its product."""
    generator = f'<meta name="generator" content="rtsysid {name}">'
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{generator}\n'


def npz_mark(product: Product) -> dict[str, Any]:
    """Return the array, by its name, that marks an npz file as this product."""
    return {"generator": f"rtsysid {product.name}"}


def write_mark(folder: Path, product: Product, **facts: Any) -> None:
    """Write the mark of a folder, and facts about it as plain values."""
    (folder / MARK).write_text(json.dumps({"kind": f"rtsysid {product.name}", **facts}, indent=1) + "\n")


def _file(name: str, *suffixes: str, ours: Callable[[Path], bool] | None = None) -> Product:
    """Make a file that is ours where `ours` says so; without it none ever is."""

    def foreign(path: Path) -> str:
        if ours is None:
            return "it exists already"
        try:
            return "" if ours(path) else "it exists already, and rtsysid did not write it"
        except _UNKNOWN:
            return "it exists already, and rtsysid did not write it"

    return Product(name, "file", foreign, suffixes)


def _page(name: str) -> Product:
    return _file(name, ".html", ours=lambda path: _start(path).startswith(html_head(name).encode()))


def _folder(name: str, mark: str, entries: Callable[[Any], Iterable[str]]) -> Product:
    """Make a folder that is ours where its mark can be read and lists everything in it."""

    def foreign(folder: Path) -> str:
        try:
            known = {mark, *entries(_read_mark(folder / mark))}
        except _UNKNOWN:
            return f"it is not {_article(name)} of rtsysid"
        other = next((each for each in sorted(folder.iterdir()) if not _is_known(each, known)), None)
        return "" if other is None else f"rtsysid did not write {other.name} in it"

    return Product(name, "folder", foreign)


def _workspace(name: str, mark: str, require: Callable[[Any], object]) -> Product:
    """Make a folder that is ours where its mark can be read; what else lies in it is left alone."""

    def foreign(folder: Path) -> str:
        try:
            require(_read_mark(folder / mark))
        except _UNKNOWN:
            return f"it is not {_article(name)} of rtsysid"
        return ""

    return Product(name, "workspace", foreign)


def _read_mark(path: Path) -> Any:
    about = path.lstat()
    if not stat.S_ISREG(about.st_mode) or about.st_size > limit("json_bytes"):
        raise ValueError(path)
    return json.loads(path.read_bytes())


def _marked(name: str) -> Product:
    return _workspace(name, MARK, lambda mark: _kind(mark, name))


def _is_known(entry: Path, known: set[str]) -> bool:
    """Whether an entry is a plain file that the mark lists, or what a killed process left while it wrote one."""
    if entry.name.startswith(PREFIX):
        return entry.name.removeprefix(PREFIX) in known and is_claim(entry)
    return entry.name in known and stat.S_ISREG(entry.lstat().st_mode)


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _in_bundle(manifest: Any) -> Iterable[str]:
    _ = manifest["spec"]["channels"], manifest["fingerprint"], manifest["digest"]
    listed = [name for name, digest in manifest["files"].items() if re.fullmatch("[0-9a-f]{64}", digest)]
    return [*listed, "signature.json"]


def _in_index(manifest: Any) -> Iterable[str]:
    _ = manifest["spec"]["channels"], manifest["segments"], _kind(manifest, "index")
    return [name for name, size in manifest["files"].items() if isinstance(size, int)]


def _in_run(about: Any) -> Iterable[str]:
    _ = about["spec"]["channels"], about["config"], about["sources"], about["versions"]["rtsysid"]
    return RUN_FILES


def _kind(mark: Any, name: str) -> Any:
    if mark["kind"] != f"rtsysid {name}":
        raise ValueError(mark["kind"])
    return mark


def _flights(folder: Path) -> str:
    """Say which flight was changed or added since it was simulated; a recording may have taken its place."""
    foreign = _folder("simulation", MARK, lambda mark: _kind(mark, "simulation")["files"]).foreign(folder)
    if foreign:
        return foreign
    for name, digest in _read_mark(folder / MARK)["files"].items():
        if (folder / name).exists() and sha256(folder / name) != digest:
            return f"{name} in it was changed"
    return ""


def _example(folder: Path) -> str:
    """Say which file of the example recordings was changed or added."""
    try:
        known = _kind(_read_mark(folder / MARK), "example")["files"]
        entries = [path for path in sorted(folder.rglob("*")) if not stat.S_ISDIR(path.lstat().st_mode)]
        names = [path.relative_to(folder).as_posix() for path in entries if path != folder / MARK]
        other = next((name for name in names if name not in known or not _holds(folder / name, known[name])), "")
    except _UNKNOWN:
        return "it is not an example of rtsysid"
    return f"{other} in it was added or changed" if other else ""


def _holds(path: Path, digest: str) -> bool:
    return stat.S_ISREG(path.lstat().st_mode) and sha256(path) == digest


def sha256(path: Path | str) -> str:
    """Return the SHA-256 of a file as hexadecimal text. Raises OSError where the file cannot be read."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_predictions(path: Path) -> bool:
    """Whether a file is one of `rtsysid replay`. Its CSV begins with outputs that are withheld."""
    if path.name.lower().endswith(".npz"):
        return _is_generated(path, "predictions")
    text = _start(path, packed=path.name.lower().endswith(".gz"))
    header, *rows = [line.split(b",") for line in text.split(b"\n")[:-1]]
    statuses = {row[-1].decode() for row in rows}
    return header[0] == b"t" and header[-1] == b"status" and {*rows[0][1:-1]} == {b"nan"} and statuses <= set(BY_NAME)


def _is_generated(path: Path, name: str) -> bool:
    check_zip_directory(path)
    with zipfile.ZipFile(path) as archive, archive.open("generator.npy") as member:
        return member.read(1000).endswith(f"rtsysid {name}".encode("utf-32-le"))


def _start(path: Path, packed: bool = False) -> bytes:
    with (gzip.open if packed else open)(path, "rb") as stream:
        return bytes(stream.read(_READ))


def _stale_port(path: Path) -> str:
    if path.is_symlink() and _TERMINAL.fullmatch(os.readlink(path)) and not path.exists():
        return ""
    return "it is not the link of a simulated device that has ended"


REPORT, MOMENTS, AUTOENCODERS = _page("report"), _page("moments"), _page("autoencoders")
SWEEP_PAGE, CHECK_PAGE = _page("sweep page"), _page("check")
CONTROL_PAGE, MOMENT_PAGE = _page("closed loop"), _page("linear model")
PREDICTIONS = _file("predictions", ".csv", ".csv.gz", ".npz", ours=_is_predictions)
BENCHMARK_PREDICTIONS = _file(
    "benchmark predictions", ".npz", ours=lambda path: _is_generated(path, "benchmark predictions")
)
RECORDING, LIVE_RECORDING = _file("recording"), _file("recording", ".mcap")
DATASET, LIBRARY, IMAGE = _file("dataset"), _file("library"), _file("image")
CONFIGURATION = _file("configuration", ".toml")
BUNDLE, INDEX = _folder("bundle", "manifest.json", _in_bundle), _folder("index", "index.json", _in_index)
SEALED = BUNDLE, INDEX  # read as a whole: a file that they do not list damages them
RUN, UNFINISHED_RUN = _folder("run", "run.json", _in_run), _workspace("run", "run.json", _in_run)
FIRMWARE = _folder("firmware", MARK, lambda mark: _kind(mark, "firmware")["files"])
SIMULATION, EXAMPLE = Product("simulation", "folder", _flights), Product("example", "folder", _example)
COMPARISON, BENCHMARK, DEMO = _marked("comparison"), _marked("benchmark"), _marked("demo")
SWEEP = _marked("sweep")
PORT = Product("port", "link", _stale_port)
