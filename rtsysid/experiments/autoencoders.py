"""Compare the autoencoders: every member of the family, and PCA, on the same real windows.

Test recordings are not read. On nanodrone, one kind of manoeuvre is left out of training and of every choice, and the
models are measured on it. On schunk-arm they are measured on the validation runs, which also chose the best epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import torch
from torch import Tensor

from rtsysid.benchmarks.nanodrone import Nanodrone
from rtsysid.benchmarks.schunk import SchunkArm
from rtsysid.config import Config, embedded, parse_config
from rtsysid.evaluation.metrics import horizon_errors
from rtsysid.experiments.autoencoder_metrics import CodeMetrics, Coder, NetworkCode, PcaCode, code_metrics
from rtsysid.recordings.trace import Trace
from rtsysid.schedule import FAMILY, Stage, preset, resolve
from rtsysid.spec import ModelSpec
from rtsysid.train.fit import begin_stages
from rtsysid.train.linear_path import silence
from rtsysid.train.loop import Trainer
from rtsysid.train.network import Network
from rtsysid.train.run import Run
from rtsysid.train.windows import Sequences, row_windows

HORIZON = 50
BATCH = 64  # smaller than in the presets: more steps, since the training is short
WINDOW_STRIDE = 10  # ticks between the windows on which a code is measured
PCA = "PCA"
DYNAMICS = tuple(stage for stage in preset("undercomplete") if stage.horizon)  # the same for every member
THROUGH = tuple(msgspec.structs.replace(stage, train=("encoder", *stage.train)) for stage in DYNAMICS)


class Scope(msgspec.Struct, frozen=True):
    """Set the extent of the comparison.

    ``sizes``: code sizes in addition to the configured one, on the first ground of each robot. ``left_out``: kinds of
    manoeuvre. ``code_effort``, ``effort``: factors on the epochs that train a code, and an LSTM on it. ``code_stride``,
    ``stride``: ticks between the starts of their training sequences.
    """

    sizes: tuple[int, ...]
    left_out: tuple[str, ...]
    code_effort: float
    code_stride: int
    effort: float
    stride: int


FULL = Scope((8, 16), ("random", "chirp", "square"), 1.0, 20, 0.5, 60)
QUICK = Scope((), ("random",), 0.25, 40, 0.1, 90)


class Ground(msgspec.Struct, frozen=True):
    """Hold the training data and the unseen data of one comparison."""

    name: str
    config: Config
    trace: Trace
    unseen: Trace
    sizes: tuple[int, ...]


class MemberResult(msgspec.Struct, frozen=True):
    """Hold the result of one member on one ground. ``size``: of the code.

    ``errors``: mean error per output group after `HORIZON` ticks on unseen manoeuvres; empty for a code without LSTM.
    """

    ground: str
    member: str
    size: int
    code_metrics: CodeMetrics | None = None
    errors: dict[str, float] = {}


def grounds(scope: Scope) -> Iterator[Ground]:
    """List the comparisons: nanodrone without each left-out kind, and the Schunk arm.

    Raises TraceError where the recordings are absent.
    """
    config = _experiment_config("nanodrone")
    flights = Nanodrone().training(config.data.channels)
    for kind in scope.left_out:
        known, unseen = _split_by_kind(flights, kind)
        sizes = scope.sizes if kind == scope.left_out[0] else ()
        yield Ground(f"nanodrone, {kind} unseen", config, known, unseen, sizes)
    config = _experiment_config("benchmarks/schunk-arm")
    runs = SchunkArm().training(config.data.channels)
    yield Ground("schunk-arm, validation", config, runs, runs.split(config.data.validation)[1], scope.sizes)


def member_results(scope: Scope) -> Iterator[MemberResult]:
    """Train and measure every member on every ground; yield each result when it is complete."""
    for ground in grounds(scope):
        with TemporaryDirectory() as scratch:
            yield from _Bench(ground, scope, Path(scratch)).results()


class _Bench:
    """Train and measure all members on one ground. The linear map is fitted once; every member starts from it."""

    def __init__(self, ground: Ground, scope: Scope, scratch: Path) -> None:
        self.ground, self.scope, self.scratch, self.runs = ground, scope, scratch, 0
        self.base = begin_stages(ground.config, ground.trace, scratch / "base")
        self.spec = self.base.network.spec
        self.unseen = Sequences(episode.values for episode in ground.unseen.episodes)
        self.known = self._windows(self.base.validation)
        self.fresh = self._windows(self.unseen)

    def results(self) -> Iterator[MemberResult]:
        """Yield the results of PCA, of every member, and of the reference models."""
        training = self._windows(self.base.training, drawn=True)
        for size in (*self.ground.sizes, self.spec.code_size):
            yield self._code(PCA, PcaCode(training, size), size)
            for member in FAMILY:
                network = self._coded(member, size)
                result = self._code(member, NetworkCode(network), size)
                if size == self.spec.code_size:
                    self._train(network, preset(member), predicting=True)
                    result = msgspec.structs.replace(result, errors=forecast_errors_by_group(network, self.unseen))
                yield result
        yield from self._references()

    def _references(self) -> Iterator[MemberResult]:
        """Measure forecasts of models without a code, or with a code that was not trained by reconstruction."""
        bare = msgspec.structs.replace(self.spec, encoder=())
        yield self._forecast("hold", self.base.network, hold=True)
        yield self._forecast("linear map alone", self.base.network)
        for name, spec, stages in (
            ("no encoder", bare, DYNAMICS),
            ("random encoder", self.spec, DYNAMICS),
            ("trained by prediction", self.spec, THROUGH),
        ):
            network = self._network(spec)
            self._train(network, stages, predicting=True)
            yield self._forecast(name, network)

    def _coded(self, member: str, size: int) -> Network:
        """Train encoder and decoder of a member, nothing else."""
        encoder = (*self.spec.encoder[:-1], size)
        spec = msgspec.structs.replace(self.spec, encoder=encoder, variational=member == "variational")
        network = self._network(spec)
        self._train(network, preset(member), predicting=False)
        return network

    def _network(self, spec: ModelSpec) -> Network:
        """Return a new network with the shared linear map."""
        torch.manual_seed(self.base.settings.seed)
        network = Network(spec)
        for name in ("linear_path", "linear_near") if spec.near_ticks else ("linear_path",):
            network.get_submodule(name).load_state_dict(self.base.network.get_submodule(name).state_dict())
        silence(network.head)
        return network

    def _train(self, network: Network, schedule: tuple[Stage, ...], *, predicting: bool) -> None:
        """Run the stages of a schedule that train prediction, or those before them that train a code."""
        scope, base, self.runs = self.scope, self.base, self.runs + 1
        effort, stride = (scope.effort, scope.stride) if predicting else (scope.code_effort, scope.code_stride)
        stages = resolve(schedule, network.spec, effort)
        run = Run(self.scratch / str(self.runs))
        run.folder.mkdir()
        trainer = Trainer(
            network,
            tuple(stage for stage in stages if bool(stage.horizon) == predicting),
            (base.training, base.validation),
            base.yardstick,
            augmentation=base.augmentation,
            settings=msgspec.structs.replace(base.settings, stride=stride),
            run=run,
        )
        for _ in trainer.epochs():
            pass
        network.eval()

    def _code(self, member: str, coder: Coder, size: int) -> MemberResult:
        return MemberResult(self.ground.name, member, size, code_metrics(coder, self.spec, self.known, self.fresh))

    def _forecast(self, member: str, network: Network, hold: bool = False) -> MemberResult:
        return MemberResult(
            self.ground.name, member, 0, None, forecast_errors_by_group(network.eval(), self.unseen, hold)
        )

    @torch.no_grad()
    def _windows(self, rows: Sequences, drawn: bool = False) -> Tensor:
        """Return the scaled features [n, E] that the encoder sees of windows of all recordings.

        With `drawn` the windows are transformed by random symmetries, as in training.
        """
        taps = self.spec.taps
        windowed = rows.rows(rows.starts(taps, WINDOW_STRIDE), taps)
        shown = self.base.augmentation.symmetries.sample(windowed) if drawn else windowed
        return self.base.network.features(shown)[:, self.spec.encoder_columns]


@torch.no_grad()
def forecast_errors_by_group(network: Network, flights: Sequences, hold: bool = False) -> dict[str, float]:
    """Return the mean error per output group after `HORIZON` ticks, from starts in all flights after a warm-up.

    With `hold`, return the error of the hold model.
    """
    spec, warm = network.spec, network.spec.settling_samples - network.spec.taps
    rows = flights.rows(flights.starts(spec.settling_samples + HORIZON, HORIZON), spec.settling_samples + HORIZON)
    seen, truth = row_windows(rows, spec.taps)[:, :-1], rows[:, spec.settling_samples :, spec.n_inputs :]
    _, state = network.sequence(seen[:, :warm], network.initial_state(seen[:, 0]))
    ahead = seen[:, warm:]
    predicted = ahead[:, :1, -1, spec.n_inputs :].expand_as(truth) if hold else network.rollout(ahead, state)
    curves = horizon_errors(predicted.numpy(), truth.numpy(), spec.outputs)
    return {group: float(curve[-1]) for group, curve in curves.items()}


def _experiment_config(name: str) -> Config:
    """Return a preset's data and model. The stages set the horizon up to which loss units are computed."""
    config = parse_config(embedded(name), name)
    train = msgspec.structs.replace(config.train, batch=BATCH)
    return msgspec.structs.replace(config, train=train, stage=preset("two-stage"))


def _split_by_kind(trace: Trace, kind: str) -> tuple[Trace, Trace]:
    """Split flights into all other kinds, and this kind."""
    sides = ([e for e in trace.episodes if e.name.startswith(kind) == wanted] for wanted in (False, True))
    known, unseen = (Trace(trace.channels, tuple(side), trace.sources) for side in sides)
    return known, unseen
