"""Nothing in an index is believed: its manifest, its arrays and the sizes of its mapped files are checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.hostile import header, members, npy, places, put, sealed, zipped
from support.robots import plant

from rtsysid.errors import TraceError
from rtsysid.retrieval.build import build
from rtsysid.retrieval.index import Index, summary
from rtsysid.retrieval.search import find, query_at


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build([plant(2, 200)], tmp_path / "index", seconds=0.5)
    return tmp_path / "index"


def test_every_field_of_an_index_is_checked(folder: Path) -> None:
    """Every place of index.json refuses a value of another kind, and a key that nobody knows."""
    honest = json.loads((folder / "index.json").read_text())
    for path in places(honest):
        for wrong in ({"unheard": ["of"]}, -1.5):
            changed = json.loads(json.dumps(honest))
            put(changed, path, wrong)
            (folder / "index.json").write_text(sealed(changed))
            if path != ("digest",):
                with pytest.raises(TraceError):
                    summary(folder)
    (folder / "index.json").write_text(sealed({**honest, "unheard": 1}))
    with pytest.raises(TraceError, match="unheard"):
        summary(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"span": 2**30},
        {"rows": 10**15},
        {"segments": []},
        {"segments": [{"recording": "a", "source": 7, "rows": 400}]},
        {"segments": [{"recording": "a", "source": 0, "rows": 1}] * 400},
        {"segments": [{"recording": "a", "source": 0, "rows": 10**15}]},
        {"files": {"codes.u8": 1, "descriptor.npz": 1, "times.f64": 1, "values.f32": 1}},
        {"bundle": "../../x"},
    ],
    ids=str,
)
def test_an_index_that_contradicts_itself_is_refused(folder: Path, change: dict[str, Any]) -> None:
    """Segments, rows and sizes follow from each other; what does not fit is one line, and nothing is allocated."""
    honest = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(sealed({**honest, **change}))
    with pytest.raises(TraceError, match=r"index\.json"):
        Index.open(folder)


@pytest.mark.parametrize("key", ["weights", "directions", "thresholds"])
def test_every_array_of_an_index_is_checked(folder: Path, key: str) -> None:
    """Of another shape or type, claiming more, or not finite: refused."""
    path = folder / "descriptor.npz"
    kept = members(path.read_bytes())
    array = np.load(path)[key]
    for member in (npy(array[:-1]), npy(array.astype("<f8")), npy(array * np.nan), header("<f4", (10**12,)), b""):
        path.write_bytes(zipped({**kept, f"{key}.npy": member}))
        with pytest.raises(TraceError, match=r"descriptor\.npz"):
            Index.open(folder)


@pytest.mark.parametrize("name", ["values.f32", "times.f64", "codes.u8"])
def test_mapped_files_have_the_size_that_follows(folder: Path, name: str) -> None:
    """Shorter, longer, or a link to the same bytes: refused."""
    path = folder / name
    kept = path.read_bytes()
    for wrong in (kept[:-4], kept + b"\0" * 4, b""):
        path.write_bytes(wrong)
        with pytest.raises(TraceError, match=name.replace(".", r"\.")):
            Index.open(folder)
    path.unlink()
    (folder / "elsewhere").write_bytes(kept)
    path.symlink_to(folder / "elsewhere")
    with pytest.raises(TraceError, match="not a regular file"):
        Index.open(folder)


@pytest.mark.parametrize(("name", "kind"), [("values.f32", "<f4"), ("times.f64", "<f8")])
def test_values_that_are_not_finite_are_found_when_they_are_used(folder: Path, name: str, kind: str) -> None:
    """NaN in the archive is an error, and never a match."""
    (folder / name).write_bytes(np.full_like(np.fromfile(folder / name, kind), np.nan).tobytes())
    index = Index.open(folder)
    with pytest.raises(TraceError, match="not finite"):
        find(index, query_at(index, plant(2, 200), 2.0))
