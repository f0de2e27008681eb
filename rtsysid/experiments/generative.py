"""Compare the distributions on recordings: proper scores next to null models, on four grounds.

The point model of a ground is trained once. Every distribution but `variational`, which needs an encoder of its own, is
trained on top of it, so that all have the same mean path. The null models draw from the errors of the other recordings.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from export.bundle import export
from rtsysid.benchmarks import benchmark
from rtsysid.benchmarks.nanodrone import Nanodrone
from rtsysid.benchmarks.robot_files import FINISHED, TrainedModel, read_trained_model
from rtsysid.benchmarks.schunk import SchunkArm
from rtsysid.benchmarks.simulation import Simulation
from rtsysid.config import Config, NoiseLevels, embedded, parse_config
from rtsysid.errors import ConfigError
from rtsysid.evaluation.probabilistic.evaluate import MODEL, ProbabilisticEvaluation, SampleScores, evaluate_samples
from rtsysid.model.bundle import Bundle
from rtsysid.model.contents import noise_macs
from rtsysid.recordings.simulate import fly
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.schedule import GENERATIVE
from rtsysid.spec import Channel, digest
from rtsysid.storage import rewriting
from rtsysid.train.auto.begin import begin_auto
from rtsysid.train.auto.candidates import noise_stages_for
from rtsysid.train.auto.trainer import Updates
from rtsysid.train.fit import begin, prepare_recordings
from rtsysid.train.generative.on_point import noise_trainer
from rtsysid.train.loop import Epoch
from rtsysid.train.run import Run

GROUNDS = ("nanodrone", "nanodrone but square", "schunk-arm", "simulated", "cascaded-tanks")
FLIGHTS, FLIGHT_S, SEEN_LATER = 12, 40.0, 8
PARTS = 4  # of each test record of a classic benchmark


class Amount(NamedTuple):
    """How much is trained and measured: updates of point model and noise, seeds, forecasts, futures of each."""

    point: int
    noise: int
    seeds: int
    starts: int
    futures: int


FULL, QUICK = Amount(900, 1200, 3, 400, 100), Amount(60, 60, 1, 100, 50)


class DistributionRow(msgspec.Struct, frozen=True):
    """Hold the scores of one distribution, or of a null model, on one ground.

    ``seconds``: of the training of the noise; None where it was continued. ``weights``: bytes of the noise in flash.
    ``macs``: multiply-accumulates of a tick of one future, those of the point model included.
    """

    ground: str
    name: str
    seed: int
    scores: SampleScores
    ticks: tuple[int, ...]
    seconds: float | None
    weights: int
    macs: int

    def cells(self) -> list[str]:
        """Return the cells of a printed table."""
        ratio = "{:.3f} ({:.3f} to {:.3f})".format(*self.scores.ratio)
        inside = [
            f"{100 * self.scores.coverage['0.9'][self.ticks.index(n)]:.1f}" for n in (1, 10, 50) if n in self.ticks
        ]
        shown = [f"{self.scores.energy:.4g}", ratio, f"{self.scores.variogram:.4g}", *inside, f"{self.scores.rmse:.3f}"]
        seconds = "-" if self.seconds is None else f"{self.seconds:.0f}"
        return [self.ground, self.name, str(self.seed), *shown, seconds, str(self.weights), str(self.macs)]


class GroundTraces(NamedTuple):
    """The configuration of a ground, the recordings to train on, and those to judge on."""

    config: Config
    training: Trace
    judged: Trace


def require_grounds(names: Sequence[str]) -> None:
    """Raise ConfigError for a name that is no ground."""
    if unknown := [name for name in names if name not in GROUNDS]:
        raise ConfigError("ground", ", ".join(map(repr, unknown)), f"choose among {', '.join(GROUNDS)}")


def ground_traces(name: str) -> GroundTraces:
    """Read the recordings of a ground. Raises TraceError where they are absent, ConfigError for an unknown name."""
    require_grounds((name,))
    if name == "simulated":
        config = parse_config(embedded("quadrotor"))
        return GroundTraces(config, fly(FLIGHTS, FLIGHT_S, seed=0), fly(SEEN_LATER, FLIGHT_S / 2, seed=2))
    chosen, _, kind = name.partition(" but ")
    ground = Nanodrone().without(kind) if kind else benchmark(chosen)
    config = parse_config(embedded(ground.config))
    channels = config.data.channels
    if isinstance(ground, Simulation):
        return GroundTraces(config, ground.training(channels), _test_parts(ground, channels))
    assert isinstance(ground, Nanodrone | SchunkArm)
    return GroundTraces(config, ground.training(channels), ground.testing(channels))


def _test_parts(ground: Simulation, channels: tuple[Channel, ...]) -> Trace:
    """Cut the test records of a classic benchmark into parts, which count as recordings of their own."""
    episodes = list[Episode]()
    for record in ground.read().test:
        for k, rows in enumerate(np.array_split(ground.rows(record), PARTS), 1):
            episodes.append(Episode(f"{record.name} part {k}", np.arange(len(rows)) / ground.rate_hz, rows))
    return Trace(channels, tuple(episodes))


def compare_distributions(
    grounds: tuple[str, ...], members: tuple[str, ...], amount: Amount, folder: Path
) -> Iterator[Epoch | DistributionRow]:
    """Train and score each member on each ground; yield every epoch, and a row for each member, seed and null model.

    A model that exists in `folder` is used again. Raises TraceError where recordings are absent, ConfigError for
    unknown names, and the errors of training and export.
    """
    if unknown := [name for name in members if name not in GENERATIVE]:
        raise ConfigError("distribution", ", ".join(unknown), f"choose among {', '.join(GENERATIVE)}")
    for ground in grounds:
        traces, place = ground_traces(ground), folder / ground.replace(" ", "-")
        yield from _trained_point(traces, amount, place / "point")
        shown = False
        for member, seed in product(members, range(amount.seeds)):
            model = yield from _trained_noise(traces, amount, member, seed, place)
            bundle = Bundle.open(place / f"{member}-{seed}" / "bundle")
            found = evaluate_samples(
                bundle, traces.judged, _horizon(bundle), futures=amount.futures, starts=amount.starts
            )
            judged = {ground: found} if found.known is None else {ground: found, f"{ground}, known": found.known}
            for name, each in judged.items():
                yield from _rows_of(name, member, each, bundle, model, nulls=not shown)
            shown = True


def _rows_of(
    ground: str, member: str, found: ProbabilisticEvaluation, bundle: Bundle, model: TrainedModel, *, nulls: bool
) -> Iterator[DistributionRow]:
    weights = bundle.arrays("weights.npz")
    size = sum(each.nbytes for name, each in weights.items() if name.split(".")[0] in ("spread", "latent", "members"))
    step, sampled = bundle.spec.macs, bundle.spec.macs + noise_macs(bundle.spec)
    for name, scores in found.scores.items():
        if name == MODEL:
            yield DistributionRow(ground, member, model.seed, scores, found.ticks, model.seconds, size, sampled)
        elif nulls:
            yield DistributionRow(ground, name, model.seed, scores, found.ticks, 0.0, 0, step)


def _horizon(bundle: Bundle) -> int:
    stages = bundle.manifest.training.config.stage
    return max((stage.horizon for stage in stages), default=0) or 50


def _trained_point(traces: GroundTraces, amount: Amount, folder: Path) -> Iterator[Epoch]:
    """Train the point model of a ground by the default training, unless it exists."""
    if Run(folder).complete:
        return
    config = _by_default(traces.config)
    yield from begin_auto(
        config, traces.training, folder, updates=Updates(max(1, amount.point // 8), amount.point, 1)
    ).epochs()


def _by_default(config: Config) -> Config:
    """Return the configuration with the default training in place of its own."""
    train = msgspec.structs.replace(config.train, preset="", sensor_noise=NoiseLevels(), history=True)
    model = msgspec.structs.replace(
        config.model, taps=None, encoder=None, encoder_taps=None, hidden=None, warmup=None, linear_path=None
    )
    data = msgspec.structs.replace(config.data, train_on_validation=False)
    return msgspec.structs.replace(config, data=data, model=model, train=train, stage=())


def _trained_noise(
    traces: GroundTraces, amount: Amount, member: str, seed: int, place: Path
) -> Generator[Epoch, None, TrainedModel]:
    """Train the noise of a member and export the model, unless that was finished before."""
    point, folder, training = Run(place / "point"), place / f"{member}-{seed}", traces.training
    config = msgspec.convert(point.about["config"], Config)
    key = digest([msgspec.to_builtins(config), training.sources, amount.noise])
    known = read_trained_model(folder)
    if known is not None and known.key == key:
        return known
    begun, continued = time.monotonic(), Run(folder / "run").begun
    if member == "variational":
        yield from begin(_own_encoder(config, seed), training, folder / "run").epochs()
    else:
        yield from _noise_epochs(training, amount.noise, member, seed, point, folder / "run")
    model = TrainedModel(key, seed, len(training), None if continued else time.monotonic() - begun)
    export(folder / "run", folder / "bundle")
    with rewriting(folder / FINISHED) as path:
        path.write_bytes(msgspec.json.encode(model))
    return model


def _noise_epochs(training: Trace, updates: int, member: str, seed: int, point: Run, folder: Path) -> Iterator[Epoch]:
    config = msgspec.convert(point.about["config"], Config)
    prepared = prepare_recordings(msgspec.structs.replace(config, stage=config.stages), training)
    halves, horizon = (prepared.train, prepared.validation), len(point.arrays("yardstick.npz")["rms"])
    rows = sum(map(len, prepared.train))
    per_epoch = max(1, rows // config.train.sequence_stride // config.train.batch_size)
    stages = noise_stages_for(member, updates, per_epoch, horizon)
    yield from noise_trainer(point, folder, member, halves, stages, seed).epochs()


def _own_encoder(config: Config, seed: int) -> Config:
    """Return the configuration of a variational autoencoder of the same sizes, with its own stages."""
    model = msgspec.structs.replace(config.model, distribution="variational", age_bands=(), near_ticks=0)
    train = msgspec.structs.replace(config.train, preset="variational", seed=seed)
    changed = msgspec.structs.replace(config, model=model, train=train, stage=())
    return msgspec.structs.replace(changed, stage=changed.stages)
