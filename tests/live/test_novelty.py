"""Novelty: the detector says what its calibration says, and keeps still where it must."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from support.robots import plant

from rtsysid.cli import cli
from rtsysid.errors import BundleError, TraceError
from rtsysid.live.calibration import FILE, Calibration, novelty_scores, smoothed
from rtsysid.live.exceedance import ExceedanceModel
from rtsysid.live.novelty import Novelty
from rtsysid.live.session import Session
from rtsysid.model.backends.protocol import InnovationEnergy
from rtsysid.model.backends.windowed import weighted_squares
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Channel, Floats, ModelSpec, Sample, unit_scaling

BACKENDS = ["c", "onnx", "numpy"]


def calibration_of(folder: Path) -> Calibration:
    found = Calibration.of(Bundle.open(folder))
    assert found is not None
    return found


def streamed(predictor: Predictor, calibration: Calibration, values: Floats) -> tuple[Session, Novelty, list]:
    """A session over rows at the model's rate, its detector, and its predictions."""
    novelty = Novelty(calibration, predictor)
    session = Session(predictor, novelty=novelty, reject_margin=100.0)
    said = [session.feed(Sample(k / predictor.spec.rate_hz, row)) for k, row in enumerate(values)]
    return session, novelty, said


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_detector_sees_the_scores_of_the_calibration(calibrated_folder: Path, backend: str) -> None:
    """Tick by tick the level of a live detector is the graver of the two calibrated scores over its threshold."""
    predictor, calibration = Predictor.load(calibrated_folder, backend), calibration_of(calibrated_folder)
    values = plant(1, 300, seed=4).episodes[0].values
    found = novelty_scores(predictor, values)
    most, worst = calibration.thresholds
    expected = np.maximum(smoothed(found.innovation / np.array(calibration.spread)) / most, found.code / worst)
    predictor.reset()
    novelty, levels = Novelty(calibration, predictor), []
    for row in values:
        novelty.sample[:] = row
        novelty.update()
        levels.append(novelty.score)
        predictor.step(row)
    silent = predictor.settling_samples
    assert np.isnan(levels[: silent - 1]).all()
    np.testing.assert_allclose(levels[silent:], expected, rtol=1e-3)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
@pytest.mark.parametrize("backend", BACKENDS)
def test_innovation_energies_agree(calibrated_folder: Path, backend: str, seed: int) -> None:
    """The innovation energy of every backend is the weighted sum of squares."""
    rng = np.random.default_rng(seed)
    sample, weight = rng.standard_normal(3).astype(np.float32), rng.uniform(0.1, 9, 2).astype(np.float32)
    predictor = Predictor.load(calibrated_folder, backend, check=False)
    for row in rng.standard_normal((8, 3)).astype(np.float32):
        predictor.step(row)
    expected = np.sum(((sample[1:] - predictor.y) * weight) ** 2)
    assert predictor.innovation_energy(sample, weight)() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("column", [1, 2])
def test_a_broken_sensor_is_novel_and_named(calibrated_folder: Path, column: int) -> None:
    """A sensor that jumps is noticed within three ticks, the status says novel, and the channel is named."""
    values = plant(1, 300, seed=5).episodes[0].values
    values[200:, column] += 0.5
    predictor = Predictor.load(calibrated_folder)
    session, _, said = streamed(predictor, calibration_of(calibrated_folder), values)
    first = next(k for k, each in enumerate(said) if "novel" in each.flags)
    assert 200 <= first < 203
    assert said[first].status == "novel"
    assert column in said[first].channels
    assert session.health.alarms == 1
    assert session.health.novel == sum("novel" in each.flags for each in said)


def test_unbroken_sensors_are_not_novel(calibrated_folder: Path) -> None:
    """Four minutes of the same plant raise no more than an alarm or two at one an hour."""
    predictor, calibration = Predictor.load(calibrated_folder), calibration_of(calibrated_folder)
    alarms = [streamed(predictor, calibration, e.values)[0].health.alarms for e in plant(6, 2000, seed=50).episodes]
    assert sum(alarms) <= 2


def test_an_alarm_ends_soon_after_its_cause(calibrated_folder: Path) -> None:
    """However far off one sample is, the samples after it are novel for a second at most."""
    values = plant(1, 400, seed=6).episodes[0].values
    values[200, 1] += 50.0
    predictor = Predictor.load(calibrated_folder)
    _, _, said = streamed(predictor, calibration_of(calibrated_folder), values)
    novel = [k for k, each in enumerate(said) if "novel" in each.flags]
    assert novel[0] == 200
    assert novel[-1] < 250


@settings(max_examples=15)
@given(lost=st.integers(1, 5))
def test_it_is_silent_while_the_window_holds_a_stand_in(calibrated_folder: Path, lost: int) -> None:
    """After missing samples nothing is weighed until the delay line is whole again."""
    predictor, calibration = Predictor.load(calibrated_folder, check=False), calibration_of(calibrated_folder)
    novelty = Novelty(calibration, predictor)
    session, values = Session(predictor, novelty=novelty), plant(1, 200, seed=7).episodes[0].values
    levels = []
    for k, row in enumerate(values):
        if not 100 <= k < 100 + lost:
            session.feed(Sample(k / 50, row))
            levels.append((k, novelty.score))
    known = [k for k, level in levels if not math.isnan(level)]
    silent = range(100 + lost, 100 + lost + predictor.spec.taps - 1)
    assert 99 in known
    assert not set(silent) & set(known)
    assert silent.stop in known


class Still:
    """Predicts that a quaternion stays."""

    def __init__(self) -> None:
        channels = (Channel("u", "", "input"), *(Channel(f"q{k}", "quat", group="attitude") for k in "xyzw"))
        blank = ModelSpec(channels=channels, rate_hz=100.0, taps=2, encoder=())
        self.spec = msgspec.structs.replace(blank, scaling=unit_scaling(blank))
        self.settling_samples, self.reconstruction_error = 0, 0.0
        self.y: Floats = np.array([0.6, 0, 0, 0.8], np.float32)

    def innovation_energy(self, sample: Floats, weight: Floats) -> InnovationEnergy:
        return weighted_squares(sample[1:], self.y, weight)


def test_a_quaternion_and_its_twin_are_no_news() -> None:
    """A sensor that turns from q to -q, which is the same rotation, raises no alarm; another rotation does."""
    tail = ExceedanceModel(1000.0, 50, 1.0, 1.0, 0.0)
    calibration = Calibration(
        false_alarms_per_hour=1.0, spread=(1e-3,) * 4, innovation=tail, every=1, reconstruction=None, recordings=""
    )
    novelty = Novelty(calibration, Still())
    novelty.sample[1:] = [-0.6, 0, 0, -0.8]
    assert not novelty.update()
    novelty.sample[1:] = [0.8, 0, 0, 0.6]
    assert novelty.update()


def test_a_rate_beyond_the_recordings_is_refused(calibrated_folder: Path) -> None:
    """Five minutes do not speak of one false alarm an hour: the least there is, and what would do, in one line."""
    calibration = calibration_of(calibrated_folder)
    assert calibration.false_alarms_per_hour == pytest.approx(calibration.innovation.lowest_rate)
    with pytest.raises(TraceError, match=r"support 1\.2 or more an hour; ask for that, or calibrate on 6 min"):
        calibration.with_rate(1.0)
    assert calibration.with_rate(10.0).thresholds < calibration.thresholds


def test_without_calibration_nothing_is_novel(bundle_folder: Path) -> None:
    """A bundle without calibration streams as before, and information about it says that it has none."""
    bundle = Bundle.open(bundle_folder)
    assert Novelty.of(bundle, Predictor.load(bundle)) is None
    shown = CliRunner().invoke(cli, ["info", str(bundle_folder)]).output
    assert "no: rtsysid calibrate BUNDLE TRACE" in shown


def test_a_damaged_calibration_is_refused(calibrated_folder: Path, tmp_path: Path) -> None:
    """A calibration of another number of outputs never judges a model, even under a good manifest."""
    from rtsysid.model.bundle import write_manifest

    copy = Path(shutil.copytree(calibrated_folder, tmp_path / "copy"))
    built = json.loads((copy / FILE).read_text())
    (copy / FILE).write_text(json.dumps({**built, "spread": [1.0]}))
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").unlink()
    write_manifest(copy, {key: value for key, value in manifest.items() if key not in ("files", "digest")})
    with pytest.raises(BundleError, match="of another model; calibrate it again"):
        Calibration.of(Bundle.open(copy))


def test_the_verb_calibrates_in_place(bundle_folder: Path, tmp_path: Path) -> None:
    """`rtsysid calibrate` gives the bundle another id and a calibration, and a replay of a broken sensor says novel."""
    copy, before = Path(shutil.copytree(bundle_folder, tmp_path / "copy")), Bundle.open(bundle_folder).id
    trace = plant(4, 2000, seed=9)
    for episode in trace.episodes:
        Trace(trace.channels, (episode,)).write(tmp_path / f"{episode.name}.csv")
    recordings = [str(path) for path in sorted(tmp_path.glob("*.csv"))]
    done = CliRunner().invoke(cli, ["calibrate", str(copy), *recordings, "--false-alarms", "6", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["id"] != before
    assert (found["false_alarms_per_hour"], found["id"]) == (6.0, Bundle.open(copy).id)
    broken = plant(1, 300, seed=5)
    broken.episodes[0].values[200:, 2] += 0.5
    broken.write(tmp_path / "broken.npz")
    out = tmp_path / "said.csv"
    done = CliRunner().invoke(cli, ["replay", str(copy), str(tmp_path / "broken.npz"), "-o", str(out), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["alarms"] == 1
    assert ",novel" in out.read_text()


def test_the_verb_refuses_a_rate_that_the_recordings_do_not_support(bundle_folder: Path, tmp_path: Path) -> None:
    """Too little to calibrate on for the rate asked for is an error, and the bundle stays what it was."""
    copy, before = Path(shutil.copytree(bundle_folder, tmp_path / "copy")), Bundle.open(bundle_folder).id
    plant(1, 3000, seed=9).write(tmp_path / "short.csv")
    done = CliRunner().invoke(cli, ["calibrate", str(copy), str(tmp_path / "short.csv"), "--false-alarms", "1"])
    assert isinstance(done.exception, TraceError)
    assert "calibrate on 6 min" in str(done.exception)
    assert Bundle.open(copy).id == before
