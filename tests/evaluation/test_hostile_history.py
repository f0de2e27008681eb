"""Test that a training history that somebody else wrote harms neither the opening of a bundle nor a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.shell import command, refused_here

from rtsysid.errors import BundleError
from rtsysid.model.bundle import Bundle
from rtsysid.model.history import history_of
from rtsysid.model.manifest import HISTORY

pytestmark = pytest.mark.torch


def history(**changes: Any) -> bytes:
    """A history of one epoch with other values."""
    epoch = {"index": 0, "stage": "a", "train": 1.0, "validation": 1.0, **changes}
    return json.dumps({"epochs": [epoch]}).encode()


REFUSED = {
    "no JSON": b"\x00\xff",
    "a list": b"[]",
    "a number": b"7",
    "no epochs": b"{}",
    "epochs of text": b'{"epochs": "many"}',
    "an unknown key": history(more=1),
    "a loss of text": history(train="1.0"),
    "a loss of lists": history(validation=[[1.0]]),
    "an index below 0": history(index=-1),
    "an index beyond 53 bits": history(index=2**60),
    "an integer of 400 digits": history(train=10**399),
    "a number of 5,000 digits": b'{"epochs": [{"index": ' + b"9" * 5000 + b"}]}",
    "NaN": history(train=float("nan")),
    "infinity": history(train=float("inf")),
    "a number beyond float64": b'{"epochs": [{"index": 0, "stage": "a", "train": 1e999, "validation": 1}]}',
    "deep nesting": b'{"epochs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a key that occurs twice": b'{"epochs": [], "epochs": []}',
    "10 MB": history(stage="x" * 10_000_000),
}


def with_history(bundle: Path, content: bytes, folder: Path) -> Bundle:
    return Bundle.open(bundle).rewritten(folder / "bundle", {HISTORY: content})


@pytest.mark.parametrize("name", REFUSED)
def test_a_history_that_no_export_writes_is_refused(bundle_folder: Path, tmp_path: Path, name: str) -> None:
    """The bundle opens, since a robot does not read the file; a reader gets one error that names it."""
    bundle = with_history(bundle_folder, REFUSED[name], tmp_path)
    with pytest.raises(BundleError, match=r"history\.json"):
        history_of(bundle)


@pytest.mark.parametrize("name", ["a loss of text", "deep nesting", "10 MB"])
def test_a_report_says_it_in_one_line(bundle_folder: Path, recording: Path, tmp_path: Path, name: str) -> None:
    """`info` describes the bundle; `report` ends with one line and the exit code of a bundle, and writes no page."""
    bundle, page = with_history(bundle_folder, REFUSED[name], tmp_path).folder, tmp_path / "r.html"
    command("info", bundle)
    line = refused_here("report", bundle, "--data", recording, "-o", page, "--horizon", 5, code=2)
    assert HISTORY in line
    assert not page.exists()


def test_a_wild_history_of_the_right_form_is_shown(bundle_folder: Path, recording: Path, tmp_path: Path) -> None:
    """Huge and negative losses, jumping numbers, names like markup and 60,000 epochs make a page of less than 3 MB."""
    losses = (1e308, -1e308, 5e-324, 0.0, None)
    epochs = [
        {"index": 2**53 - k, "stage": f"<b>{k % 7}", "train": losses[k % 5], "validation": losses[(k + 2) % 5]}
        for k in range(60_000)
    ]
    bundle = with_history(bundle_folder, json.dumps({"epochs": epochs}).encode(), tmp_path)
    page = tmp_path / "r.html"
    command("report", bundle.folder, "--data", recording, "-o", page, "--horizon", 5)
    assert page.stat().st_size < 3_000_000
    assert "<b>3" not in page.read_text()
