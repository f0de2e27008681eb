"""The way in from Python: `fit` makes a model of data in memory or of files, `load` opens one that was saved.

Training and export are imported inside the functions that need them: a robot has neither.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from rtsysid.checking.check import check_recordings, require_sound
from rtsysid.config import Config, Data, read_config, with_keys
from rtsysid.errors import ConfigError, SpecError
from rtsysid.evaluation import aligned
from rtsysid.evaluation.forecasts import forecasts
from rtsysid.evaluation.horizon import Evaluation, evaluate, stretches
from rtsysid.model.bundle import Bundle
from rtsysid.model.plans import as_floats
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.frames import is_table_like
from rtsysid.recordings.given import Recordings, rate_of, read_given, select_given
from rtsysid.recordings.held_out import held_out_of
from rtsysid.recordings.time_column import time_setting
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Channel, Doubles, Floats, ModelSpec
from rtsysid.storage import replacing
from rtsysid.storage.kinds import mistaken
from rtsysid.storage.products import REPORT

if TYPE_CHECKING:
    from rtsysid.model.golden import Row


def fit(
    data: Recordings,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    rate_hz: float | None = None,
    *,
    time: str | None = None,
    config: Config | Path | str | None = None,
    settings: Mapping[str, Any] | None = None,
    minutes: float | None = None,
    linear: bool = False,
    seed: int | None = None,
    force: bool = False,
    folder: Path | str | None = None,
) -> Model:
    """Train a model that predicts `outputs` from their past and from `inputs`, and verify it.

    `data`: a DataFrame, a mapping of names to arrays [T], a `Trace`, a path, or a list of them, one for each
    recording; other columns are ignored. Names may state a unit, as ``"vx [m/s]"``. `rate_hz`: samples per second;
    by default that of the times. `time`: the time column, "" for none; by default it is found by its name.

    `config`: a configuration or its TOML file in place of names and rate. `settings`: keys of a configuration, as
    ``{"model.hidden": 16}`` (docs/configuration.md). `minutes`: about how long the training takes. `linear`: end with
    the linear model, within seconds. `seed`: of the random draws. `folder`: keep the run there, and continue one that
    was interrupted. `force`: train in spite of grave findings of a check.

    Raises TraceError where the data cannot be used, ConfigError where names or settings are wrong, and the errors of
    `rtsysid.train.fit.begin` and `export.bundle.export`.
    """
    said = dict(settings or {}) | ({} if seed is None else {"train.seed": seed})
    if config is None:
        chosen, trace = _named_channels(data, inputs, outputs, rate_hz, time, said)
    elif inputs or outputs or rate_hz is not None or time is not None:
        found = "names, rate or time next to a configuration"
        raise ConfigError("fit", found, "leave them out, or change keys of it with settings")
    else:
        chosen = with_keys(config if isinstance(config, Config) else read_config(config), said)
        trace = read_given(data, chosen.data)
    if not force:
        require_sound(check_recordings([], chosen, trace))
    return _trained(chosen, trace, folder, minutes, linear)


def load(path: Path | str) -> Model:
    """Open a bundle, or a finished run, which is exported first to a temporary folder.

    Raises BundleError where the bundle is damaged, ConfigError where the folder is neither or the run not finished.
    """
    path = Path(path)
    if (path / "manifest.json").exists():
        return Model(Bundle.open(path))
    if (path / "run.json").exists():
        with tempfile.TemporaryDirectory() as scratch:
            return Model(_exported(path, Path(scratch)))
    raise ConfigError(str(path), *mistaken(path, "model"))


class Model:
    """A trained and verified model; `fit` and `load` make it.

    ``bundle``: all that it consists of, in memory. Data are those of `fit`, with all channels of the model; rows of
    several recordings follow one another in every array that is returned.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    @property
    def spec(self) -> ModelSpec:
        """Return the specification: channels, rate and structure."""
        return self.bundle.spec

    @property
    def inputs(self) -> list[str]:
        """List the names of the inputs."""
        return [channel.name for channel in self.spec.inputs]

    @property
    def outputs(self) -> list[str]:
        """List the names of the outputs."""
        return [channel.name for channel in self.spec.outputs]

    @cached_property
    def predictor(self) -> Predictor:
        """Load the predictor, once: `step` and `forecast`, sample by sample. Raises the errors of `Predictor.load`."""
        return Predictor.load(self.bundle)

    def predict(self, data: Recordings, ahead: int = 1) -> Floats:
        """Predict each row from the rows up to `ahead` ticks before it, and the inputs since: [T, ny].

        NaN in the first rows of a recording and after a gap. Raises TraceError where the data are not those of the
        model.
        """
        return aligned.predictions_ahead(self.bundle, self.predictor, self.trace(data), ahead)

    def simulate(self, data: Recordings) -> Floats:
        """Run freely from the first rows of each recording to its end, with its inputs alone: outputs [T, ny].

        NaN in the rows that the run begins with. Raises TraceError where the data are not those of the model.
        """
        return aligned.free_runs(self.bundle, self.predictor, self.trace(data))

    def forecast(self, history: Recordings, u_future: Any) -> Floats:
        """Predict what follows a history if these inputs were applied: y_{k+1} .. y_{k+N}, as [N, ny].

        `history`: a recording that ends at tick k. `u_future`: planned inputs u_k .. u_{k+N-1}, [N, nu] or by name; as
        in `Predictor.forecast`, the first is applied from the last row of the history on, whose own inputs are not
        used. `extrapolation` then tells how far they leave the trained range. Raises TraceError where the history is
        too short, SpecError for another number of inputs.
        """
        plan = self._plan(u_future)
        rows = aligned.history_rows(self.bundle, self.trace(history), plan)
        aligned.step_through(self.predictor, rows)
        return self.predictor.forecast(plan)

    @property
    def extrapolation(self) -> dict[str, float]:
        """Tell by name how far inputs of the last `forecast` leave the trained range, in widths of it. 0 is within."""
        return dict(zip(self.inputs, map(float, self.predictor.extrapolation), strict=True))

    def evaluate(self, data: Recordings, horizon: int = 50, stride: int = 1) -> Evaluation:
        """Measure the error of forecasts by ticks ahead, next to hold and linear ARX; see `rtsysid.evaluate`.

        Raises TraceError where no recording is long enough, or the data are not those of the model.
        """
        return evaluate(self.bundle, self.trace(data), horizon, stride)

    def score(self, data: Recordings, horizon: int = 50) -> float:
        """Return R^2 of forecasts over 1 .. `horizon` ticks, averaged over the outputs: 1 is perfect, 0 a constant.

        Raises TraceError where no recording is long enough, or the data are not those of the model.
        """
        pieces = stretches(self.bundle, self.trace(data)).episodes
        batches = (each for piece in pieces for each in forecasts(self.predictor, piece.values, horizon, horizon))
        return aligned.mean_determination((batch.predicted, batch.truth) for batch in batches)

    def log_likelihood(self, data: Recordings) -> Doubles:
        """Compute the log density of each row, given the rows before it, in nats: [T].

        It is that of the targets, in engineering units. NaN in the first rows of a recording and after a gap. Raises
        SpecError where the model has no distribution, TraceError where the data are not those of the model.
        """
        return aligned.log_densities(self.bundle, self.trace(data))

    def surprise(self, data: Recordings) -> Doubles:
        """Compute the negative log density of each row as a mean over about five ticks, in nats: [T]; large is novel.

        NaN in the first rows of a recording and after a gap. Raises SpecError where the model has no distribution,
        TraceError where the data are not those of the model.
        """
        return aligned.row_surprises(self.bundle, self.trace(data))

    def plot(self, data: Recordings, *, horizon: int = 50, at: float | None = None) -> Any:
        """Draw a recording with forecasts over it and their intervals; return a matplotlib Figure.

        `at`: time in s of the only forecast; by default one begins where the last one ends. Raises TraceError where no
        forecast fits, RtsysidError where matplotlib is not installed: it comes with the extra ``plot``.
        """
        from rtsysid.evaluation.figures import forecast_figure

        return forecast_figure(self.bundle, self.predictor, self.trace(data), horizon, at)

    def report(self, data: Recordings, path: Path | str, *, horizon: int = 50, overwrite: bool = False) -> Path:
        """Write the HTML page that judges the model on data, and return its path.

        Data of the training are judged by their validation part. Raises TraceError where the data cannot be used,
        StorageError where the file is refused.
        """
        from rtsysid.checking.judged_model import judged_model
        from rtsysid.evaluation.report.content import report_page

        manifest = self.bundle.manifest
        cut = self.trace(data).segments(self.spec.rate_hz, nan="split")
        held_out, text = held_out_of(cut, manifest.trained_on, manifest.training.config)
        page = report_page([judged_model(self.bundle.id, self.bundle, held_out, text, horizon)])
        with replacing(path, REPORT, overwrite=overwrite) as scratch:
            scratch.write_text(page, encoding="utf-8")
        return Path(path)

    def export(self, path: Path | str, targets: Sequence[str] | None = None, *, overwrite: bool = False) -> list[Row]:
        """Write a verified bundle with ``onnx``, ``c``, ``int8``, ``aarch64``, ``armv7``; return its verification.

        By default ONNX, and C where this machine has a compiler. Raises ConfigError for an unknown target, BundleError
        where one lacks its compiler, StorageError where the folder is refused.
        """
        from export.retarget import retarget
        from export.targets import default_targets, parse_targets

        chosen = default_targets() if targets is None else parse_targets(",".join(targets))
        self.bundle, rows = retarget(self.bundle, path, chosen, overwrite=overwrite)
        self.__dict__.pop("predictor", None)
        return rows

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Write the bundle, which `load` opens; return its folder. Raises StorageError where it is refused."""
        self.bundle = self.bundle.rewritten(path, {}, overwrite=overwrite)
        return Path(path)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the configuration of the training by key, as ``model.hidden``; `settings` of `fit` takes such keys."""
        tables = msgspec.to_builtins(self.bundle.manifest.training.config)
        stages = {"stage": tables.pop("stage", [])}
        return {f"{name}.{key}": value for name, table in tables.items() for key, value in table.items()} | stages

    def trace(self, data: Recordings, time: str | None = None) -> Trace:
        """Read data as the model sees them: its channels, in its order. `time`: another time column of files.

        Raises TraceError where a channel is missing.
        """
        trace = read_given(data, self.bundle.data(time))
        self.bundle.require(trace.channels, "data")
        return trace

    def _plan(self, u_future: Any) -> Floats:
        """Return planned inputs as [N, nu]."""
        if is_table_like(u_future):
            u_future = np.column_stack([np.asarray(u_future[name]) for name in self.inputs])
        plan = as_floats("u_future", u_future)
        plan = plan[:, np.newaxis] if plan.ndim == 1 and len(self.inputs) == 1 else plan
        if plan.ndim != 2 or not len(plan) or plan.shape[1] != len(self.inputs):
            raise SpecError(
                "u_future", f"shape {plan.shape}", f"give [N, {len(self.inputs)}]: {', '.join(self.inputs)}"
            )
        return plan

    def __repr__(self) -> str:
        spec = self.spec
        names = f"{', '.join(self.inputs) or 'no input'} -> {', '.join(self.outputs)}"
        return f"Model({names}; {spec.rate_hz:g} Hz, {spec.macs:,} MACs, bundle {self.bundle.id})"


def _named_channels(
    data: Recordings, inputs: Sequence[str], outputs: Sequence[str], rate_hz: float | None, time: str | None,
    said: Mapping[str, Any],
) -> tuple[Config, Trace]:  # fmt: skip
    """Make the configuration of channels that are named, and read them."""
    if isinstance(inputs, str) or isinstance(outputs, str):
        raise ConfigError("fit", "inputs or outputs are one text", "give lists of names, as outputs=['y']")
    if not outputs:
        raise ConfigError("fit", "no outputs", "name the columns to predict, as outputs=['y'], or give config")
    wanted = [Channel.parse(each, "input") for each in inputs] + [Channel.parse(each) for each in outputs]
    trace = select_given(data, wanted, time, rate_hz)
    names = [[str(each) for each in trace.channels if each.role == role] for role in ("input", "output")]
    settings = Data(rate_hz or rate_of(trace), tuple(names[0]), tuple(names[1]), time_setting(trace.time))
    config = with_keys(Config(settings), said)
    return config, replace(trace, channels=config.data.channels)


def _trained(config: Config, trace: Trace, folder: Path | str | None, minutes: float | None, linear: bool) -> Model:
    """Train in a folder, a temporary one where none is named, and export."""
    from rtsysid.train.config_text import toml_text
    from rtsysid.train.fit import begin
    from rtsysid.train.torch_state import unchanged_torch

    with tempfile.TemporaryDirectory() as scratch, unchanged_torch():
        run = Path(folder or Path(scratch) / "run")
        for _ in begin(config, trace, run, toml_text(config), linear=linear, minutes=minutes).epochs():
            pass
        return Model(_exported(run, Path(scratch)))


def _exported(run: Path, scratch: Path) -> Bundle:
    """Export a run; the bundle stays in memory when the folder is gone."""
    from export.bundle import export

    return export(run, scratch / "model")[0]
