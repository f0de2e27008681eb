"""Evidence on the autoencoder family: every member on the same real windows, beside principal components.

Nothing of a test recording is read. On nanodrone a kind of manoeuvre is left out of training and of every choice, and
is what is measured on; on schunk-arm it is the validation runs, by which the best epoch was chosen, for all alike.
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
from rtsysid.experiments.autoencoder_metrics import CodeMetrics, Coder, NetworkCode, PcaCode, code_metrics
from rtsysid.metrics import horizon_errors
from rtsysid.recordings.trace import Trace
from rtsysid.schedule import FAMILY, Stage, preset, resolve
from rtsysid.spec import ModelSpec
from rtsysid.train.fit import begin
from rtsysid.train.linear_path import silence
from rtsysid.train.loop import Trainer
from rtsysid.train.network import Network
from rtsysid.train.run import Run
from rtsysid.train.windows import Sequences, row_windows

HORIZON = 50
BATCH = 64  # more and noisier steps than the presets take, for the little training there is
WINDOW_STRIDE = 10  # ticks between the windows that a code is measured on
PCA = "PCA"
DYNAMICS = tuple(stage for stage in preset("undercomplete") if stage.horizon)  # the same for every member
THROUGH = tuple(msgspec.structs.replace(stage, train=("encoder", *stage.train)) for stage in DYNAMICS)


class Scope(msgspec.Struct, frozen=True):
    """How much is done. ``sizes``: of codes beside the configuration's own, on the first ground of each robot.

    ``code_effort`` and ``effort`` multiply the epochs that train a code and those that train an LSTM on it, with
    sequences that start every ``code_stride`` and ``stride`` ticks.
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
    """What to learn from, and what is never learned from."""

    name: str
    config: Config
    trace: Trace
    unseen: Trace
    sizes: tuple[int, ...]


class MemberResult(msgspec.Struct, frozen=True):
    """One code, or one model, on one ground. ``size``: of the code.

    ``errors``: mean error per group of outputs after `HORIZON` ticks on unseen manoeuvres; of whole models alone.
    """

    ground: str
    member: str
    size: int
    code_metrics: CodeMetrics | None = None
    errors: dict[str, float] = {}


def grounds(scope: Scope) -> Iterator[Ground]:
    """Nanodrone without each kind that is left out, and the Schunk arm."""
    config = _config("nanodrone")
    flights = Nanodrone().training(config.data.channels)
    for kind in scope.left_out:
        known, unseen = _parted(flights, kind)
        sizes = scope.sizes if kind == scope.left_out[0] else ()
        yield Ground(f"nanodrone, {kind} unseen", config, known, unseen, sizes)
    config = _config("benchmarks/schunk-arm")
    runs = SchunkArm().training(config.data.channels)
    yield Ground("schunk-arm, validation", config, runs, runs.split(config.data.validation)[1], scope.sizes)


def findings(scope: Scope) -> Iterator[MemberResult]:
    """Train and measure every member on every ground; each finding as soon as it is known."""
    for ground in grounds(scope):
        with TemporaryDirectory() as scratch:
            yield from _Bench(ground, scope, Path(scratch)).findings()


class _Bench:
    """One ground: what is linear is fitted once, and every member starts from it."""

    def __init__(self, ground: Ground, scope: Scope, scratch: Path) -> None:
        self.ground, self.scope, self.scratch, self.runs = ground, scope, scratch, 0
        self.base = begin(ground.config, ground.trace, scratch / "base")
        self.spec = self.base.network.spec
        self.unseen = Sequences(episode.values for episode in ground.unseen.episodes)
        self.known = self._windows(self.base.validation)
        self.fresh = self._windows(self.unseen)

    def findings(self) -> Iterator[MemberResult]:
        training = self._windows(self.base.training, drawn=True)
        for size in (*self.ground.sizes, self.spec.code_size):
            yield self._code(PCA, PcaCode(training, size), size)
            for member in FAMILY:
                network = self._coded(member, size)
                finding = self._code(member, NetworkCode(network), size)
                if size == self.spec.code_size:
                    self._train(network, preset(member), predicting=True)
                    finding = msgspec.structs.replace(finding, errors=forecast_errors(network, self.unseen))
                yield finding
        yield from self._anchors()

    def _anchors(self) -> Iterator[MemberResult]:
        """Forecasts without a code that was learned by reconstruction, or without any."""
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
        """Encoder and decoder of a member, trained; nothing else is."""
        encoder = (*self.spec.encoder[:-1], size)
        spec = msgspec.structs.replace(self.spec, encoder=encoder, variational=member == "variational")
        network = self._network(spec)
        self._train(network, preset(member), predicting=False)
        return network

    def _network(self, spec: ModelSpec) -> Network:
        """A new network on the linear map that all share."""
        torch.manual_seed(self.base.settings.seed)
        network = Network(spec)
        network.linear_path.load_state_dict(self.base.network.linear_path.state_dict())
        silence(network.head)
        return network

    def _train(self, network: Network, schedule: tuple[Stage, ...], *, predicting: bool) -> None:
        """Run the stages of a schedule that learn to predict, or those before them that learn a code."""
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
        return MemberResult(self.ground.name, member, 0, None, forecast_errors(network.eval(), self.unseen, hold))

    @torch.no_grad()
    def _windows(self, rows: Sequences, drawn: bool = False) -> Tensor:
        """Scaled features [n, F] of windows all over the recordings; `drawn`: through symmetries, as training sees."""
        taps = self.spec.taps
        shown = rows.rows(rows.starts(taps, WINDOW_STRIDE), taps)
        return self.base.network.features(self.base.augmentation.symmetries.sample(shown) if drawn else shown)


@torch.no_grad()
def forecast_errors(network: Network, flights: Sequences, hold: bool = False) -> dict[str, float]:
    """Mean error per group of outputs after `HORIZON` ticks, from starts all over the flights after a warm-up.

    `hold`: of a model that stands still instead.
    """
    spec, warm = network.spec, network.spec.settling_samples - network.spec.taps
    rows = flights.rows(flights.starts(spec.settling_samples + HORIZON, HORIZON), spec.settling_samples + HORIZON)
    seen, truth = row_windows(rows, spec.taps)[:, :-1], rows[:, spec.settling_samples :, spec.n_inputs :]
    _, state = network.sequence(seen[:, :warm], network.initial_state(seen[:, 0]))
    ahead = seen[:, warm:]
    predicted = ahead[:, :1, -1, spec.n_inputs :].expand_as(truth) if hold else network.rollout(ahead, state)
    found = horizon_errors(predicted.numpy(), truth.numpy(), spec.outputs)
    return {group: float(curve[-1]) for group, curve in found.items()}


def _config(name: str) -> Config:
    """A preset's data and model; the stages say how far the unit of the losses has to reach."""
    config = parse_config(embedded(name), name)
    train = msgspec.structs.replace(config.train, batch=BATCH)
    return msgspec.structs.replace(config, train=train, stage=preset("two-stage"))


def _parted(trace: Trace, kind: str) -> tuple[Trace, Trace]:
    """Flights of every other kind, and of this one."""
    sides = ([e for e in trace.episodes if e.name.startswith(kind) == wanted] for wanted in (False, True))
    known, unseen = (Trace(trace.channels, tuple(side), trace.sources) for side in sides)
    return known, unseen
