"""A real robot of another kind in the rig: the Schunk arm, six torques in, twelve outputs, no rigid body."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parts import REPORT, bundle_of, same_bits, small

from export.firmware import build_image, model_files
from export.hil import open_board, play, predictions_here
from firmware_bridge import emulator
from rtsysid.config import embedded, parse_config
from rtsysid.model.bundle import Bundle
from rtsysid.recordings.home import data_folder
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Floats

LEARNED, PLAYED = (1, 2), range(5, 81, 4)  # numbers of runs
SAMPLES, TRIMMED = 10_000, 200


@pytest.fixture(scope="module")
def arm() -> Trace:
    """Two runs for training, then nineteen to play."""
    folder = data_folder()
    if folder is None or not (folder / "schunk_arm").is_dir():
        pytest.skip("wants recordings schunk_arm under RTSYSID_DATA")
    channels = parse_config(embedded("benchmarks/schunk-arm")).data.channels
    files = [folder / "schunk_arm" / f"run_{run:03d}.csv.gz" for run in (*LEARNED, *PLAYED)]
    return Trace.read_all(files, channels)


@pytest.fixture(scope="module")
def arm_bundle(request: pytest.FixtureRequest, arm: Trace, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    if request.config.getoption("--port"):
        pytest.skip("the board at --port runs another model")
    config = small(parse_config(embedded("benchmarks/schunk-arm")))
    return bundle_of(config, arm, tmp_path_factory.mktemp("arm"))


@pytest.fixture(scope="module")
def runs(arm: Trace) -> tuple[Episode, ...]:
    """Recordings to play, all held out of training."""
    return arm.episodes[len(LEARNED) :]


@pytest.fixture(scope="module")
def rows(runs: tuple[Episode, ...]) -> Floats:
    return np.concatenate([run.values for run in runs])[:SAMPLES]


@pytest.mark.parametrize("which", ["sim", "qemu"])
def test_runs_of_the_arm_over_the_wire(arm_bundle: Bundle, runs: tuple[Episode, ...], which: str) -> None:
    """The beginnings of three runs on a simulated and an emulated board give, bit by bit, what the bundle gives."""
    trimmed = [run.piece(0, TRIMMED) for run in runs[::8]]
    with open_board(arm_bundle, which) as board:
        reports = list(play(board, arm_bundle, trimmed))
    assert [report.recording for report in reports] == [run.name for run in trimmed]
    assert all(report.equal for report in reports)
    sizes = "" if board.image is None else f", flash {board.image.flash:,} B, RAM {board.image.ram:,} B"
    counted = "" if reports[0].instructions is None else f", {reports[0].instructions:,} instructions a step"
    called = f"image {board.image_sha256[:12]}, bundle {arm_bundle.id}"
    REPORT.append(
        f"{board.name}, Schunk arm: {called}, {len(reports)} runs of {TRIMMED} rows bit-equal{counted}{sizes}"
    )


def test_ten_thousand_samples_of_the_arm(arm_bundle: Bundle, rows: Floats, tmp_path: Path) -> None:
    """Nineteen runs end to end on the emulated Cortex-M4F give the bits of C here."""
    assert len(rows) == SAMPLES
    image = build_image("replay", model_files(arm_bundle), tmp_path / "replay.elf")
    found = emulator.replay_image(image.path, rows, arm_bundle.spec.n_outputs)
    assert same_bits(found.y, predictions_here(arm_bundle, rows))
