"""Test the distributions: each member trains by its preset, exports, verifies and samples alike on every backend."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from support.generative import MODEL, config_of, network_of
from support.robots import DATA_ALONE, plant
from support.shell import command

from export.bundle import export
from rtsysid.api import Model
from rtsysid.checking.judged_model import judged_model
from rtsysid.config import parse_config
from rtsysid.errors import ConfigError, ScheduleError, SpecError
from rtsysid.evaluation.probabilistic.log_score import log_score
from rtsysid.evaluation.report.content import report_page
from rtsysid.model.backends.noise import MOST
from rtsysid.model.bundle import Bundle
from rtsysid.model.likelihood import measured_ticks, tick_log_densities
from rtsysid.model.loading import backends_of
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Trace
from rtsysid.schedule import GENERATIVE, Loss
from rtsysid.train.auto.begin import begin_auto
from rtsysid.train.auto.trainer import RESULT, Updates
from rtsysid.train.fit import begin
from rtsysid.train.generative import calibration, losses
from rtsysid.train.generative.density import tick_density
from rtsysid.train.generative.losses import Measured, noise_loss
from rtsysid.train.generative.sampling import FutureStart, drawn, sampled_rollout
from rtsysid.train.run import Run, state_arrays
from rtsysid.train.windows import row_windows


@pytest.fixture(autouse=True)
def short_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibrate on few sequences: most tests look at what a calibration moves, not at how far."""
    monkeypatch.setattr(calibration, "SEQUENCES", 8)
    monkeypatch.setattr(calibration, "BATCH", 8)


@pytest.mark.parametrize("member", GENERATIVE)
def test_a_member_trains_exports_verifies_and_samples(member: str, tmp_path: Path, tiny_trace: Trace) -> None:
    """One epoch of each stage by its preset, a bundle that every backend reproduces, and the same futures on each."""
    for _ in begin(config_of(member), tiny_trace, tmp_path / "run").epochs():
        pass
    bundle, rows = export(tmp_path / "run", tmp_path / "bundle")
    assert all(row.passed for row in rows)
    assert {row.backend for row in rows} == set(backends_of(bundle))
    unseen, found = plant(1, 60, seed=5).episodes[0].values, {}
    for name in backends_of(bundle):
        predictor = Predictor.load(bundle, name)  # type: ignore[arg-type]
        for row in unseen[:30]:
            predictor.step(row)
        before, plan = predictor.snapshot(), unseen[30:50, :1]
        found[name] = predictor.sample_futures(plan, 33, seed=7)
        np.testing.assert_array_equal(predictor.sample_futures(plan, 5, seed=7), found[name][:5])
        assert all(np.array_equal(a, b) for a, b in zip(before, predictor.snapshot(), strict=True))
        assert found[name].std(0).min() > 0
        assert (predictor.sample_futures(plan, 5, seed=8) != found[name][:5]).any()
    for each in found.values():
        np.testing.assert_allclose(each, found["numpy"], atol=1e-4)


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory: pytest.TempPathFactory, tiny_trace: Trace) -> Bundle:
    folder = tmp_path_factory.mktemp("gaussian")
    for _ in begin(config_of("gaussian"), tiny_trace, folder / "run").epochs():
        pass
    return export(folder / "run", folder / "bundle", ("onnx",))[0]


@pytest.mark.parametrize("distribution", ["gaussian", "mixture", "ensemble"])
def test_numpy_and_torch_give_measured_ticks_the_same_density(distribution: str) -> None:
    """The log density of every row of an episode, with and without members, from two implementations."""
    network = network_of(distribution).double()
    spec, rows = network.spec, np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)
    found = tick_log_densities(spec, state_arrays(network.state_dict()), rows)
    windows = row_windows(torch.from_numpy(rows).double()[None], spec.taps)[:, :-1]
    state, truth = windows.new_zeros(1, spec.state_size), torch.from_numpy(rows).double()[None, spec.taps :, 2:]
    with torch.no_grad():
        wanted = tick_density(network, windows, state, truth)[0].numpy() - np.log(spec.scaling.target_std).sum()
    ready = spec.settling_samples
    assert np.isnan(found[:ready]).all()
    np.testing.assert_allclose(found[ready:], wanted[ready - spec.taps :], rtol=1e-4, atol=1e-4)


def test_the_density_is_that_of_the_samples() -> None:
    """The density of one tick integrates to the share of its own samples in a box, found by counting."""
    network = network_of("gaussian")
    spec, count = network.spec, 20_000
    window, state = torch.randn(1, spec.taps, spec.width), torch.zeros(1, spec.state_size)
    draws = drawn(spec, count, 1, window)
    with torch.no_grad():
        plan = window[:, -1:, : spec.n_inputs].expand(count, -1, -1)
        start = FutureStart(window.expand(count, -1, -1), state.expand(count, -1))
        futures = sampled_rollout(network, start, plan, draws)
        log = tick_density(network, window[:, None].expand(count, -1, -1, -1), state.expand(count, -1), futures)
        point = network.step(window, state)[0]
    off = (network.coordinates.targets(window[:, -1].expand(count, -1), futures[:, 0]) - 0.0) / network.target_std
    centred = (off - (point - window[:, -1, 2:]) / network.target_std).numpy()
    covariance = np.cov(centred.T)
    entropy = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance)[1]
    assert -log.mean().item() == pytest.approx(entropy, abs=0.03)
    np.testing.assert_allclose(centred.mean(0), 0, atol=0.05)


def test_the_point_model_stays_bit_for_bit(tmp_path: Path, tiny_trace: Trace) -> None:
    """The stages of the noise change no weight of the mean: a forecast is that of the same training without them."""
    found = []
    for distribution in ("", "gaussian"):
        config = config_of("gaussian")
        stages = config.stages if distribution else tuple(s for s in config.stages if "spread" not in s.train)
        model = msgspec.structs.replace(config.model, distribution=distribution)
        folder = tmp_path / f"run{distribution}"
        trainer = begin(msgspec.structs.replace(config, model=model, stage=stages), tiny_trace, folder)
        for _ in trainer.epochs():
            pass
        found.append(trainer.run.weights())
    for name, weight in found[0].items():
        assert torch.equal(weight, found[1][name]) or name.startswith("spread")


def test_the_score_finds_the_scale_of_the_noise() -> None:
    """On a plant whose noise is known, training by the score moves a scale that is far off to the true one."""
    network = network_of("gaussian")
    with torch.no_grad():
        network.spread.age.zero_()
        network.spread.factors.zero_()
        network.spread.scale.weight.zero_()
        network.spread.scale.bias.fill_(-2.0)
    window, state = torch.randn(1, 4, 5).expand(400, -1, -1), torch.zeros(400, network.spec.state_size)
    plan = window[:, -1:, :2].expand(-1, 8, -1)
    with torch.no_grad():
        truth = sampled_rollout(network, FutureStart(window, state), plan, drawn(network.spec, 400, 8, window))
        network.spread.scale.bias.fill_(0.5)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name == "spread.scale.bias")
    optimiser, loss = torch.optim.Adam([network.spread.scale.bias], 0.1), Loss("score", horizon=8, futures=8)
    windows = torch.cat((window[:, None], window[:, None].expand(-1, 7, -1, -1)), 1)
    for _ in range(60):
        optimiser.zero_grad()
        noise_loss(network, loss, Measured(windows, state, truth, truth.std(0))).backward()
        optimiser.step()
    np.testing.assert_allclose(network.spread.scale.bias.detach().numpy(), -2.0, atol=0.35)


def test_scores_of_a_bundle_and_of_null_models(gaussian: Bundle, tmp_path: Path) -> None:
    """The command prints a row for the model and each null model, as --json has it; one recording is refused."""
    flights = plant(3, 90, seed=8)
    for episode in flights.episodes:
        Trace(flights.channels, (episode,)).write(tmp_path / f"{episode.name}.csv")
    files = sorted(map(str, tmp_path.glob("*.csv")))
    given = ["evaluate", str(gaussian.folder), *files, "--horizon", "10", "--probabilistic", "--futures", "20"]
    done = command(*given)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[2:5]] == ["model", "box", "residuals"]
    found = json.loads(command(*given, "--json").stdout)
    assert found["scores"]["residuals"]["ratio"] == [1.0, 1.0, 1.0]
    assert sum(found["scores"]["model"]["pit"]) == pytest.approx(1)
    assert set(found["scores"]["model"]["crps"]) == {"y", "v"}
    refused = command(*given[:3], "--horizon", "10", "--probabilistic", check=1)
    assert "give two or more" in refused.stderr


def test_the_log_score_stands_next_to_that_of_one_covariance(gaussian: Bundle) -> None:
    """It is the mean density of the rows that are predicted, next to the best noise that never changes."""
    values = plant(1, 120, seed=8).episodes[0].values
    weights = gaussian.arrays("weights.npz")
    found = log_score(gaussian.spec, weights, [values])
    assert found is not None
    assert found.model == pytest.approx(np.nanmean(tick_log_densities(gaussian.spec, weights, values)))
    off = np.array([each.off for each in measured_ticks(gaussian.spec, weights, values)])
    white = off @ np.linalg.inv(np.linalg.cholesky(off.T @ off / len(off))).T
    volume = np.log(gaussian.spec.scaling.target_std).sum() + 0.5 * np.linalg.slogdet(off.T @ off / len(off))[1]
    by_hand = np.mean(-0.5 * (white**2 + np.log(2 * np.pi)).sum(1)) - volume
    assert found.constant == pytest.approx(by_hand, rel=1e-6)
    assert log_score(gaussian.spec, weights, [values[:3]]) is None


def test_a_report_shows_the_scores_of_futures(gaussian: Bundle, bundle_folder: Path) -> None:
    """The page of a model with a distribution has a section with the null models; that of a point model has none."""
    trace = plant(3, 120, seed=8)
    pages = [
        report_page([judged_model("model", bundle, trace, "three runs", 10)])
        for bundle in (gaussian, Bundle.open(bundle_folder))
    ]
    assert ["Sampled futures" in page for page in pages] == [True, False]
    assert "residuals" in pages[0]


def test_surprise_rises_where_a_sensor_fails(gaussian: Bundle, bundle_folder: Path) -> None:
    """Noise on an output raises the surprise within five ticks; it is a running mean; a point model has none."""
    whole, model = plant(1, 120, seed=8), Model(gaussian)
    values, ready = whole.episodes[0].values.copy(), gaussian.spec.settling_samples
    values[60:, 1:] += np.float32(np.random.default_rng(0).standard_normal(values[60:, 1:].shape))
    faulty = Trace(whole.channels, (replace(whole.episodes[0], values=values),))
    calm, found = model.surprise(whole), model.surprise(faulty)
    assert np.isnan(found[:ready]).all()
    np.testing.assert_array_equal(found[ready:60], calm[ready:60])
    assert found[65:].min() > calm[ready:].max()
    density = -model.log_likelihood(whole)
    assert calm[ready] == density[ready]
    assert calm[ready + 1] == pytest.approx(0.8 * density[ready] + 0.2 * density[ready + 1])
    with pytest.raises(SpecError, match="the model predicts points"):
        Model(Bundle.open(bundle_folder)).surprise(whole)


GAUSSIAN = '[model]\ndistribution = "gaussian"'
STAGE = "[[stage]]\nname = 'x'\n"
REFUSED = {  # what is written in place of [model], what stages there are, and what is said of it
    "a distribution without its stages": (
        GAUSSIAN, STAGE + "train = ['cell', 'head']\nloss = [{ kind = 'rollout' }]", "no stage trains spread"
    ),
    "a critic without its stages": (
        GAUSSIAN.replace("gaussian", "gan"), STAGE + "train = ['spread']\nloss = [{ kind = 'score', horizon = 10 }]",
        "no stage trains latent, critic",
    ),
    "a loss of futures for points": (
        "[model]", STAGE + "train = ['cell']\nloss = [{ kind = 'score' }]", "set model.distribution to one"
    ),
    "a critic that there is not": (
        GAUSSIAN, STAGE + "train = ['spread']\nloss = [{ kind = 'adversarial' }]", "no layer for a adversarial loss"
    ),
    "two ways to say it": (GAUSSIAN + "\nvariational = true", "", "leave out variational"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_contradictions_are_one_line(name: str, tmp_path: Path, tiny_trace: Trace) -> None:
    """A distribution without stages, a loss without what it needs, and two names for one thing: one line each."""
    model, stages, said = REFUSED[name]
    text = MODEL.replace("[model]", model) + ("" if stages else 'preset = "two-stage"\n') + stages
    with pytest.raises((SpecError, ScheduleError, ConfigError), match=said) as refused:
        begin(parse_config(text), tiny_trace, tmp_path / "run")
    assert "\n" not in str(refused.value)


NO_COUNTS = (0, -1, 2**40, True, 2.5, float("nan"), "5", None, np.array([3]), 10**400, 10**5000)
NO_SEEDS = (-1, 2**63, 2**64, True, 0.5, "1", None, np.array([3]), 10**5000)
NO_NUMBERS = [("count", (each, 0)) for each in NO_COUNTS] + [("seed", (5, each)) for each in NO_SEEDS]


@pytest.mark.parametrize(("said", "given"), NO_NUMBERS, ids=lambda each: each if isinstance(each, str) else "")
def test_counts_and_seeds_out_of_range_are_refused(given: tuple[int, int], said: str, gaussian: Bundle) -> None:
    """A count of 0, one beyond all reason, a negative seed, and what is no whole number: one short line each."""
    predictor = Predictor.load(gaussian)
    for row in plant(1, 60, seed=5).episodes[0].values[:30]:
        predictor.step(row)
    with pytest.raises(SpecError, match=said) as refused:
        predictor.sample_futures(np.zeros((5, 1)), *given)
    assert len(str(refused.value)) < 200


def test_the_default_training_has_a_distribution_too(tmp_path: Path, tiny_trace: Trace) -> None:
    """With [data] and a distribution alone: judge and result get the same noise, calibrated on what the judge left out.

    What trains before it leaves limits and factors alone, and an interrupted run has no noise to keep.
    """
    text = DATA_ALONE + '[model]\ndistribution = "gaussian"\n'
    trace = Trace(tiny_trace.channels, plant(4, 150).episodes)
    for _ in begin_auto(parse_config(text), trace, tmp_path / "run", text, updates=Updates(1, 2, 2)).epochs():
        pass
    result = Run(tmp_path / "run").result()
    assert result.judge is not None
    assert result.weights["spread.scale.bias"].std() > 0
    assert (result.weights["spread.stretch"] != 1).all()
    noise = [name for name in result.weights if name.startswith("spread.")]
    assert all(torch.equal(result.judge[name], result.weights[name]) for name in noise)
    before = Run(tmp_path / "run").part(RESULT).weights()
    assert (before["spread.stretch"] == 1).all()
    assert (before["spread.limit"] == MOST).all()
    stopped = begin_auto(parse_config(text), trace, tmp_path / "other", text, updates=Updates(1, 2, 2))
    next(epochs := stopped.epochs())
    epochs.close()  # type: ignore[attr-defined]
    assert not stopped.keep_best()


def test_where_the_networks_diverge_futures_spread_around_the_linear_model(
    tmp_path: Path, tiny_trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The noise is trained on top of the linear model then; a run with a distribution is never without."""
    text = DATA_ALONE + '[model]\ndistribution = "gaussian"\n'
    trace = Trace(tiny_trace.channels, plant(4, 150).episodes)
    trainer = begin_auto(parse_config(text), trace, tmp_path / "run", text, updates=Updates(1, 2, 2))
    monkeypatch.setattr(trainer, "_train_all", lambda names: iter(()))
    assert {epoch.stage for epoch in trainer.epochs()} == {"noise of a tick", "noise of forecasts"}
    weights = Run(tmp_path / "run").result().weights
    assert not weights["head_gain"].any()
    assert (weights["spread.stretch"] != 1).all()


def test_a_validation_loss_that_is_no_number_bars_no_better_one(
    tmp_path: Path, tiny_trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Futures may diverge before a stage and after its first epoch; a later epoch with a loss is still the best."""
    config = config_of("gaussian")
    last = msgspec.structs.replace(config.stage[-1], epochs=3)
    trainer = begin(msgspec.structs.replace(config, stage=(*config.stage[:-1], last)), tiny_trace, tmp_path / "run")
    validations = iter([1.0] * len(config.stage) + [float("nan"), float("nan"), 0.5, 0.7])
    monkeypatch.setattr(trainer, "_validate", lambda stage: next(validations))
    assert [epoch.best for epoch in trainer.epochs()][-3:] == [False, True, False]


def test_a_stage_of_the_noise_leaves_nothing_worse_than_it_found(
    tmp_path: Path, tiny_trace: Trace, caplog: pytest.LogCaptureFixture
) -> None:
    """Where steps are far too large in every epoch, the noise before the stage stays, and one line says so."""
    config = config_of("gaussian")
    last = msgspec.structs.replace(config.stage[-1], epochs=2, learning_rate=3.0)
    trainer = begin(msgspec.structs.replace(config, stage=(*config.stage[:-1], last)), tiny_trace, tmp_path / "run")
    before: dict[str, torch.Tensor] = {}
    for epoch in trainer.epochs():
        before = dict(trainer.best) if epoch.stage != last.name else before
        assert epoch.stage != last.name or not epoch.best
    after = trainer.run.weights()
    assert all(torch.equal(each, after[name]) for name, each in before.items() if name not in SET_LAST)
    assert any(f"{last.name!r}: no epoch was better" in line for line in caplog.messages)


SET_LAST = ("spread.limit", "spread.stretch")  # after all stages


def test_a_noise_that_diverges_ends_with_the_last_good_weights(
    tmp_path: Path, tiny_trace: Trace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A loss that is no number ends the stage in one line; the point model and the noise before it are kept."""
    config = config_of("gan")
    trainer = begin(config, tiny_trace, tmp_path / "run")
    broken = lambda network, loss, ground: ground.state.sum() * float("nan") + network.spread.age.sum()  # noqa: E731
    monkeypatch.setitem(losses._LOSSES, "adversarial", broken)  # type: ignore[arg-type]
    for _ in trainer.epochs():
        pass
    assert any("'critic': the loss is not finite" in line and "last good weights" in line for line in caplog.messages)
    assert all(bool(torch.isfinite(each).all()) for each in trainer.run.weights().values())
