"""The recordings that come with the package: what is written, and what is never replaced."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from support.outputs import tree

from rtsysid.errors import StorageError
from rtsysid.recordings.example_runs import write_example
from rtsysid.recordings.home import home
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Channel
from rtsysid.storage.products import EXAMPLE, MARK


def test_the_example_has_runs_and_their_licence(tmp_path: Path) -> None:
    """Six runs to train on and two to judge on, with units, at 250 Hz, and the text of CC0 next to them."""
    paths = list(write_example(tmp_path / "arm"))
    assert [path.partition("/")[0] for path in paths] == ["train"] * 6 + ["unseen"] * 2
    assert (tmp_path / "arm" / "LICENSE").read_text().startswith("CC0 1.0 Universal")
    channels = (Channel("tau1", "N m", "input"), Channel("dq6", "rad/s", "output"))
    for path in paths:
        (episode,) = Trace.read(tmp_path / "arm" / path, channels).episodes
        assert np.allclose(np.diff(episode.t), 1 / 250)
        assert len(episode) == 936


def test_the_example_is_the_published_recording(tmp_path: Path) -> None:
    """Each run holds the numbers of the published run of its name; only the header has units in addition."""
    if not (home() / "schunk_arm").exists():
        pytest.skip("no recordings schunk_arm")
    for path in list(write_example(tmp_path / "arm")):
        published = gzip.decompress((home() / "schunk_arm" / f"{Path(path).name}.gz").read_bytes())
        assert (tmp_path / "arm" / path).read_bytes().partition(b"\n")[2] == published.partition(b"\n")[2]


@pytest.mark.parametrize("spoil", ["added", "changed", "link", "pipe"])
def test_what_the_user_put_in_is_never_lost(spoil: str, tmp_path: Path) -> None:
    """An example is written again over itself, but not over a folder with a file, a link or a pipe of the user."""
    folder, run = tmp_path / "arm", tmp_path / "arm" / "train" / "run_001.csv"
    for _ in range(2):
        list(write_example(folder))
    if spoil == "added":
        (folder / "train" / "mine.csv").write_text("t,y\n")
    elif spoil == "changed":
        run.write_text("t,y\n")
    else:
        run.rename(tmp_path / "moved.csv")
        run.symlink_to(tmp_path / "moved.csv") if spoil == "link" else os.mkfifo(run)
    before = tree(folder) if spoil != "pipe" else {}
    with pytest.raises(StorageError, match=r"mine\.csv" if spoil == "added" else r"run_001\.csv"):
        list(write_example(folder))
    assert spoil == "pipe" or tree(folder) == before
    (folder / MARK).write_text("{}")
    assert EXAMPLE.foreign(folder) == "it is not an example of rtsysid"
