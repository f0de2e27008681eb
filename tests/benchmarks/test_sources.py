"""Test the sources of recordings: complete list, detection of changed files, download, and the data folder."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from rtsysid.benchmarks import sources
from rtsysid.benchmarks.sources import File, Source, fetch, file_state, files, source_files
from rtsysid.cli import cli
from rtsysid.errors import TraceError
from rtsysid.recordings.home import data_folder, home

CONTENT = b"t,a\n0,1\n"
SHA = hashlib.sha256(CONTENT).hexdigest()
PLAIN, ZIPPED = File("set/train/a.csv.gz", SHA, len(CONTENT)), File("set/b.csv", SHA, len(CONTENT))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[File]:
    """Replace the list of files by two files of one set."""
    monkeypatch.setattr(sources, "files", lambda: (PLAIN, ZIPPED))
    return [PLAIN, ZIPPED]


def offer(monkeypatch: pytest.MonkeyPatch, source: Source, content: bytes) -> None:
    """Simulate a publisher whose downloads are these bytes."""
    monkeypatch.setattr(sources, "sources", lambda: {"set": source})
    monkeypatch.setattr(sources, "_download", lambda url, page: content)


def archive(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as opened:
        opened.writestr(name, content)
    return stream.getvalue()


def test_every_file_has_a_source_and_a_digest() -> None:
    """Every file is listed once, with its set, SHA-256 and size. Every set has files, terms and a page."""
    assert {file.folder for file in files()} == set(sources.sources())
    assert len({file.path for file in files()}) == len(files())
    assert all(len(file.sha256) == 64 and file.bytes > 0 for file in files())
    assert all(each.terms and each.page for each in sources.sources().values())


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    """A file is present where its content, after gunzip, has the recorded SHA-256; a damaged file differs."""
    assert file_state(PLAIN, tmp_path) == "absent"
    (tmp_path / "set" / "train").mkdir(parents=True)
    path = tmp_path / PLAIN.path
    for content, expected in ((CONTENT, "present"), (CONTENT + b"0", "differs")):
        path.write_bytes(gzip.compress(content))
        assert file_state(PLAIN, tmp_path) == expected
    path.write_bytes(gzip.compress(CONTENT)[:-3])
    assert file_state(PLAIN, tmp_path) == "differs"


def test_what_is_fetched_is_checked_and_kept(
    known: list[File], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are extracted by name, and gzipped where their path says so. A second call downloads nothing."""
    offer(monkeypatch, Source("", "", "page", zip="https://x/y.zip"), archive("Some/B.CSV", CONTENT))
    monkeypatch.setattr(sources, "files", lambda: (ZIPPED, File("set/B.csv.gz", SHA, len(CONTENT))))
    assert [here for _, here in fetch("set", tmp_path)] == ["present", "present"]
    assert (tmp_path / "set/b.csv").read_bytes() == CONTENT
    assert gzip.decompress((tmp_path / "set/B.csv.gz").read_bytes()) == CONTENT
    monkeypatch.setattr(sources, "_download", None)
    assert [here for _, here in fetch("set", tmp_path)] == ["present", "present"]


@pytest.mark.parametrize(
    ("source", "content", "message"),
    [
        (Source("", "", "page"), b"", "no address for an automatic download; get it from page"),
        (Source("", "", "page", url="https://x/{stem}", reach=("train",)), b"other", "SHA-256 .* see page"),
        (Source("", "", "page", zip="https://x/y.zip"), b"<html>", "no a.csv of 8 bytes"),
        (Source("", "", "page", zip="https://x/y.zip"), archive("b.csv", CONTENT), "no a.csv of 8 bytes"),
    ],
)
def test_nothing_wrong_is_kept(
    source: Source, content: bytes, message: str, known: list[File], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No address, changed bytes or a wrong archive raise one line that names the page, and write no file."""
    offer(monkeypatch, source, content)
    with pytest.raises(TraceError, match=message):
        list(fetch("set", tmp_path))
    assert not list(tmp_path.rglob("*.csv*"))


def test_a_publisher_that_does_not_answer_is_one_line() -> None:
    """A refused connection and an address without HTTPS raise a one-line error."""
    with pytest.raises(TraceError, match=r"no response .* see page"):
        sources._download("https://127.0.0.1:1/x", "page")
    with pytest.raises(TraceError, match="not HTTPS"):
        sources._download("http://127.0.0.1:1/x", "page")


def test_data_list_and_data_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`data list` counts the local files. `data get` of an unknown set lists the known sets."""
    monkeypatch.setenv("RTSYSID_DATA", str(tmp_path))
    listed = json.loads(CliRunner().invoke(cli, ["data", "list", "ced", "--json"]).stdout)
    assert [file["state"] for file in listed["sets"]["ced"]["files"]] == ["absent", "absent"]
    assert "ced: 0 of 2 files here" in CliRunner().invoke(cli, ["data", "list"]).stdout
    with pytest.raises(TraceError, match="choose among nanodrone"):
        CliRunner().invoke(cli, ["data", "get", "other"], catch_exceptions=False)


def test_home_is_the_named_folder_or_the_users_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RTSYSID_DATA has priority over the platform's data folder; the working directory does not matter."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RTSYSID_DATA", "")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    folders = {
        "linux": ".local/share/rtsysid",
        "darwin": "Library/Application Support/rtsysid",
        "win32": "AppData/Local/rtsysid",
    }
    for platform, folder in folders.items():
        monkeypatch.setattr("sys.platform", platform)
        assert home() == tmp_path / folder
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert home() == tmp_path / "xdg" / "rtsysid"
    assert data_folder() is None
    monkeypatch.setenv("RTSYSID_DATA", str(tmp_path))
    assert home() == data_folder() == tmp_path


@pytest.mark.recordings
@pytest.mark.parametrize("name", sources.sources())
def test_the_recordings_here_are_the_known_ones(name: str) -> None:
    """Every local file of the set has the recorded SHA-256."""
    folder = data_folder()
    if folder is None or not (folder / name).is_dir():
        pytest.skip(f"wants recordings {name} under RTSYSID_DATA")
    assert "differs" not in {file_state(file, folder) for file in source_files(name)}
