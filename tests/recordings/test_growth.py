"""Test that the work of reading grows in proportion to columns, arrays and files, by counts and not by clocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest

from rtsysid.recordings import formats
from rtsysid.recordings.formats import Column
from rtsysid.recordings.trace import Trace


class CountingName(str):
    """Count the comparisons of a name."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        CountingName.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


class WideLog:
    """A recording of so many columns and no content."""

    path, rows = Path("wide.csv"), None

    def __init__(self, count: int) -> None:
        names = ["t", *(f"c{k}" for k in range(count))]
        self.columns = tuple(Column(CountingName(name), "", name != "t") for name in names)

    def blocks(self, exact: Any, values: Any) -> Any:
        """Stream nothing."""
        return iter(())


def comparisons(count: int) -> int:
    """How often names are compared while all columns of a recording are selected."""
    CountingName.compared = 0
    formats.select_columns(WideLog(count), None, "t", None)
    return CountingName.compared


def test_selecting_columns_compares_names_in_proportion() -> None:
    """Twice the columns need at most twice the comparisons, and a few more."""
    once, twice = comparisons(500), comparisons(1000)
    assert twice <= 2 * once + 100


@pytest.mark.parametrize("count", [10, 40])
def test_each_array_of_an_archive_is_opened_twice(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for its header, once for its values, however many arrays there are."""
    np.savez(tmp_path / "a.npz", t=np.arange(5.0), **{f"c{k}": np.arange(5.0) for k in range(count - 1)})
    opened, plain = [], ZipFile.open
    monkeypatch.setattr(ZipFile, "open", lambda self, name, *rest: (opened.append(name), plain(self, name, *rest))[1])
    Trace.read(tmp_path / "a.npz")
    assert len(opened) == 2 * count


@pytest.mark.parametrize("count", [300, 1])
def test_many_arrays_are_read_one_after_the_other(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an archive of many arrays few are open at a time; the values are those of an archive of few."""
    values = np.arange(20.0 * count).reshape(20, count)
    np.savez(tmp_path / "a.npz", t=np.arange(20.0), **{f"c{k}": values[:, k] for k in range(count)})
    monkeypatch.setattr(formats, "ROWS", 7)
    [episode] = Trace.read(tmp_path / "a.npz").episodes
    np.testing.assert_array_equal(episode.values, values.astype(np.float32))


@pytest.mark.parametrize("count", [3, 12])
def test_each_file_of_a_folder_is_opened_once(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of many recordings is read file by file."""
    for k in range(count):
        (tmp_path / f"run{k}.csv").write_text("t,a\n0,1\n1,2\n")
    opened, plain = [], formats.open_log
    monkeypatch.setattr(formats, "open_log", lambda path: (opened.append(path), plain(path))[1])
    assert len(Trace.read(tmp_path).episodes) == len(opened) == count


def test_a_wide_block_has_few_rows() -> None:
    """The values of a block are bounded, whatever its width, and a block has a row at least."""
    assert formats.rows_per_block(10) == formats.ROWS
    assert formats.rows_per_block(1 << 18) == 4
    assert formats.rows_per_block(1 << 30) == 1
