"""A new source is one class: the command line runs it by its URL, and every source fills in the same counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.sources import Plant

from firmware_bridge.health import LinkHealth
from firmware_bridge.link import Link
from rtsysid.cli import cli, sources
from rtsysid.live.session import Session
from rtsysid.model.predictor import Predictor
from rtsysid.source import Source, SourceHealth

SOURCE: Source = Plant("plant://one")


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_a_new_source_runs_by_its_scheme(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """One line in the table of schemes is all that `rtsysid run` and `rtsysid info` need for a new source."""
    monkeypatch.setitem(sources.SOURCES, "plant", (Plant.__module__, "Plant"))
    done = CliRunner().invoke(cli, ["run", str(bundle_folder), "plant://one", "--backend", backend, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["samples"] == found["session"]["health"]["samples"] == 60
    assert found["link"] == {**SOURCE.health().plain(), "clean": True}
    assert json.loads(CliRunner().invoke(cli, ["info", "plant://one", "--json"]).stdout)["name"] == "a plant"


def test_any_other_port_is_a_serial_link() -> None:
    """Paths, and the URLs of serial lines, are opened by the link."""
    for port in ("/dev/ttyACM0", "socket://localhost:1", "hwgrep://1234:5678"):
        assert isinstance(sources.open_source(port), Link)


def test_a_link_counts_all_that_a_source_counts() -> None:
    """The counts of a serial link include those of every source, by the same names."""
    health = Link("/dev/null").health()
    assert isinstance(health, LinkHealth)
    assert set(SourceHealth.__struct_fields__) < set(health.plain())


def test_a_session_takes_the_calibration_of_its_bundle(calibrated_folder: Path, bundle_folder: Path) -> None:
    """Session(predictor) detects novelty where the bundle is calibrated, and does not where it is switched off or where
    there is no calibration or no bundle."""
    predictor = Predictor.load(calibrated_folder, "numpy", check=False)
    assert Session(predictor).novelty is not None
    assert Session(predictor, novelty=None).novelty is None
    assert Session(Predictor.load(bundle_folder, "numpy", check=False)).novelty is None
    assert Session(Predictor(predictor.spec, predictor.backend)).novelty is None
