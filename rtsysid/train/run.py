"""Read and write a run folder: configuration, linear fits, checkpoint and result of one training.

======================= ===========================================================================
config.toml             the configuration file as given
completed.toml          with the preset auto: the configuration with everything said that was chosen
run.json                specification, configuration, hashes of the recordings, versions
history.jsonl           one line per epoch
checkpoint.safetensors  weights, best weights, optimiser state and position; replaced as a whole
linear_path.npz         the linear maps that the linear path starts from, and their gains
baseline.npz            the linear ARX fitted to the same recordings
yardstick.npz           error of the baseline after 1 .. N ticks, the unit of the losses
excerpt.npz             the start of one validation recording, for the golden trace
validation.npz          the validation recordings, for the calibration of a bundle
expected.json           with the preset auto: the error that new recordings are expected to show
correction-...,         with the preset auto: history, checkpoint and weights of each kind of network, trained without
replacement-...         the validation recordings
full-...                the same of the result, trained with all recordings
judge-weights...        the better kind, with its gains
weights.safetensors     the result; it exists when training is complete
======================= ===========================================================================
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from safetensors.torch import save_file
from torch import Tensor

from rtsysid.circle import group_columns
from rtsysid.config import Config
from rtsysid.errors import ConfigError
from rtsysid.evaluation.expectation import EXPECTED, Expectation, read_expectation
from rtsysid.model.contents import RUN_ARRAYS, weight_shapes
from rtsysid.model.manifest import Count
from rtsysid.model.npz import Arrays, read_npz, write_npz
from rtsysid.model.untrusted import Refusal, parse_json, read_regular, structure_of
from rtsysid.spec import Floats, ModelSpec
from rtsysid.storage import require_output, rewriting
from rtsysid.storage.claim import Claim, storage_errors
from rtsysid.storage.kinds import mistaken
from rtsysid.storage.products import RUN, UNFINISHED_RUN
from rtsysid.train.differences import differing_keys
from rtsysid.train.tensors import Shapes, Tensors, read_tensors

MOMENTS = ("exp_avg", "exp_avg_sq")  # what Adam keeps of a parameter, next to the number of its steps


class Position(msgspec.Struct, forbid_unknown_fields=True):
    """State the next epoch to run: stage, epoch in it, and the best validation loss of the stage."""

    stage: Count = 0
    epoch: Count = 0
    best: float = float("inf")
    stale: Count = 0  # epochs since the best one


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `run.json` holds: the origin of the run, and its specification. See `origin`."""

    config: Config
    sources: tuple[tuple[str, str], ...]
    versions: dict[str, str]
    spec: ModelSpec
    given: Config | None = None  # with the preset auto: the configuration before everything was chosen


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of `history.jsonl`: the fields of `rtsysid.train.loop.Epoch`."""

    index: Count
    stage: str
    epoch: Count
    epochs: Count
    train: float
    validation: float
    best: bool
    seconds: float
    ahead: tuple[float, ...] = ()


class Result(NamedTuple):
    """All that a finished training leaves behind.

    ``weights``: [out, in] and [out] by name. ``excerpt`` [n, C]: samples of one validation recording, for the golden
    trace. ``validation``: the validation recordings end to end, with the rows of each; None where none were kept.
    ``epochs``: their number; ``loss``: the validation loss of the last one, None without any. ``judge``: weights of the
    same model trained without the validation recordings, where there are some. ``history``: one entry per epoch.
    """

    folder: Path
    spec: ModelSpec
    about: dict[str, Any]
    weights: Tensors
    excerpt: Floats
    baseline: Arrays
    validation: Arrays | None
    epochs: int
    loss: float | None
    judge: Tensors | None = None
    history: Sequence[Mapping[str, Any]] = ()


class Run:
    """Read and write one run folder.

    Each file is written under another name and then renamed. A kill at any moment loses one epoch at most.
    """

    def __init__(self, folder: Path | str, part: str = "") -> None:
        """`part`: the network of several in one folder whose history, checkpoint and weights these are."""
        self.folder, self._part = Path(folder), part and f"{part}-"
        self._claim: Claim | None = None

    def part(self, name: str) -> Run:
        """Return the run of one network in this folder, which this run has claimed."""
        return Run(self.folder, name)

    def file(self, name: str) -> Path:
        """Return the path of a file of this network."""
        return self.folder / f"{self._part}{name}"

    def claim(self, restart: bool = False) -> Claim:
        """Reserve the folder for this process until training ends.

        Raises StorageError where the folder is neither empty nor a run, or another process trains in it; with
        `restart`, a finished run is to be replaced, and the folder may hold nothing else.
        """
        self._claim = Claim(require_output(self.folder, RUN if restart else UNFINISHED_RUN))
        return self._claim

    @contextmanager
    def filling(self) -> Iterator[Run]:
        """Yield a new run in a folder that takes the place of this one when it is filled; call `claim` before."""
        claim = self._claim or self.claim()
        with storage_errors(self.folder):
            claim.new.mkdir()
            yield Run(claim.new)
            claim.publish()

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the folder while the run is trained, and release it at the end."""
        if self._part:
            yield  # the run of the whole folder has claimed it
            return
        claim = self._claim or self.claim()
        try:
            yield
        finally:
            claim.release()
            self._claim = None

    @property
    def complete(self) -> bool:
        """Tell whether training has ended."""
        return self.file("weights.safetensors").exists()

    @property
    def about(self) -> dict[str, Any]:
        """Read `run.json`, as plain values. Raises ConfigError where it is missing or not what a training writes."""
        return self._read_about()[0]

    @property
    def spec(self) -> ModelSpec:
        """Read the model specification. Raises ConfigError where `run.json` is not what a training writes."""
        return self._read_about()[1].spec

    @property
    def refusal(self) -> Refusal:
        """Return the maker of errors about this run."""
        return Refusal(ConfigError, f"run {self.folder}", "train again")

    def _read_about(self) -> tuple[dict[str, Any], About]:
        if not self.begun:
            raise ConfigError(f"run {self.folder}", *mistaken(self.folder, "run"))
        refusal = self.refusal
        plain = parse_json(read_regular(self.folder / "run.json", refusal, "json_bytes"), "run.json", refusal)
        about = structure_of(plain, About, "run.json", refusal)
        if not about.spec.scaling.std:
            raise refusal("run.json: the specification has no scaling")
        return plain, about

    @property
    def begun(self) -> bool:
        """Tell whether the folder holds everything that training starts from."""
        return (self.folder / "run.json").exists()

    def begin(self, about: dict[str, Any], config_text: str, arrays: Mapping[str, Arrays]) -> None:
        """Write everything that training starts from; `arrays` by the name of their npz file.

        `run.json` is written last: where it exists, the folder is complete.
        """
        for name, each in arrays.items():
            self.save_arrays(name, each)
        with rewriting(self.folder / "config.toml") as path:
            path.write_text(config_text, "utf-8")
        with rewriting(self.folder / "run.json") as path:
            path.write_text(json.dumps(about, indent=1) + "\n")

    def refuse_another(self, about: dict[str, Any]) -> None:
        """Check that the folder holds this run. Raises ConfigError where configuration or recordings differ."""
        wanted, stored = json.loads(json.dumps(about)), self.about
        if names := differing_keys(wanted, stored):
            found = f"holds another run (differs in {', '.join(names)})"
            raise ConfigError(f"run {self.folder}", found, "choose another -o")

    def save_arrays(self, name: str, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Write arrays of any shape [..] by name to an npz file."""
        with rewriting(self.folder / name) as path:
            path.write_bytes(write_npz(arrays))

    def arrays(self, name: str) -> dict[str, np.ndarray[Any, Any]]:
        """Read all arrays [..] of an npz file, by name.

        Raises ConfigError where it is missing or damaged, and where they are not those of the specification.
        """
        refusal = self.refusal
        found = read_npz(read_regular(self.folder / name, refusal), name, RUN_ARRAYS[name](self.spec), refusal)
        if "rows" in found and ((found["rows"] < 1).any() or found["rows"].sum() != len(found["true"])):
            raise refusal(f"{name}: its episodes do not have as many rows as it says")
        return found

    def save_checkpoint(self, tensors: Tensors, position: Position, epoch: dict[str, Any]) -> None:
        """Write history and checkpoint after one epoch.

        The history is written first. A kill in between leaves one line too many, which the next epoch cuts off.
        """
        history = self.history()[: epoch["index"]]
        with rewriting(self.file("history.jsonl")) as path:
            path.write_text("".join(json.dumps(line) + "\n" for line in [*history, epoch]))
        metadata = {"position": json.dumps(msgspec.to_builtins(position)), "epochs": str(epoch["index"] + 1)}
        with rewriting(self.file("checkpoint.safetensors")) as path:
            save_file(tensors, path, metadata)

    def checkpoint(self) -> tuple[Tensors, Position, int] | None:
        """Read the checkpoint: tensors, position and number of finished epochs. None where no epoch was finished.

        Raises ConfigError where the file is damaged.
        """
        path, refusal = self.file("checkpoint.safetensors"), self.refusal
        if not path.exists():
            return None
        weights = weight_shapes(self.spec)
        wanted = {f"{part}/{name}": shape for part in ("weights", "best") for name, shape in weights.items()}
        moments = {f"adam/{name}/{kind}": shape for name, shape in weights.items() for kind in MOMENTS}
        steps: Shapes = {f"adam/{name}/step": () for name in weights}
        tensors, metadata = read_tensors(path, wanted, {**moments, **steps}, refusal)
        try:
            position = msgspec.convert(json.loads(metadata["position"]), Position)
            finished = msgspec.convert(metadata["epochs"], Count, strict=False)
        except (ValueError, KeyError, RecursionError):  # a ValidationError is a ValueError
            raise refusal(f"{path.name} does not say which epoch is next") from None
        return tensors, position, finished

    def history(self) -> list[dict[str, Any]]:
        """Read one dict per finished epoch, with the fields of `rtsysid.train.loop.Epoch`.

        Raises ConfigError where the file is not what a training writes.
        """
        path, refusal = self.file("history.jsonl"), self.refusal
        if not path.exists():
            return []
        try:
            lines = [json.loads(line) for line in read_regular(path, refusal, "json_bytes").splitlines()]
            read = msgspec.convert(lines, list[Line])
        except (ValueError, RecursionError) as error:
            raise refusal(f"{path.name}: {error}") from None
        if [line.index for line in read] != list(range(len(read))):
            raise refusal(f"{path.name}: an epoch is missing or occurs twice")
        return lines

    def save_history(self, lines: list[dict[str, Any]]) -> None:
        """Write the history of another network as that of the run."""
        with rewriting(self.file("history.jsonl")) as path:
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def save_completed(self, text: str) -> None:
        """Write the configuration in which everything is said."""
        with rewriting(self.folder / "completed.toml") as path:
            path.write_text(text, "utf-8")

    def save_expected(self, stated: Expectation) -> None:
        """Write the error that new recordings are expected to show."""
        with rewriting(self.folder / EXPECTED) as path:
            path.write_text(json.dumps(msgspec.to_builtins(stated), indent=1) + "\n")

    def expected(self) -> Expectation:
        """Read what `save_expected` wrote. Raises ConfigError where it is missing, damaged or of another model."""
        stated = read_expectation(self.folder)
        if stated is None:
            raise self.refusal(f"{EXPECTED} is missing")
        horizon, names = len(self.arrays("yardstick.npz")["rms"]), list(group_columns(self.spec.outputs))
        for groups in (stated.groups, stated.linear):
            if list(groups) != names or any(n > horizon for group in groups.values() for n in group.ticks):
                raise self.refusal(f"{EXPECTED} has other groups or ticks than the model")
        return stated

    def finish(self, weights: Tensors) -> None:
        """Write the result, which completes the run."""
        with rewriting(self.file("weights.safetensors")) as path:
            save_file(weights, path)

    def weights(self) -> Tensors:
        """Read the result. Raises ConfigError where training is not finished or the file is damaged."""
        if not self.begun:
            raise ConfigError(f"run {self.folder}", *mistaken(self.folder, "run"))
        if not self.complete:
            remedy = "continue it: give the same rtsysid train command again"
            raise ConfigError(f"run {self.folder}", "training is not finished", remedy)
        return read_tensors(self.file("weights.safetensors"), weight_shapes(self.spec), {}, self.refusal)[0]

    def result(self) -> Result:
        """Read all that a bundle is made of. Raises ConfigError where training is not finished or a file is damaged."""
        weights, spec, history = self.weights(), self.spec, self.history()
        excerpt = self.arrays("excerpt.npz")["values"]
        if len(excerpt) < spec.taps:
            raise self.refusal(f"excerpt.npz has {len(excerpt)} rows, and a window has {spec.taps}")
        kept = (self.folder / "validation.npz").exists()
        return Result(
            self.folder,
            spec,
            self.about,
            weights,
            excerpt,
            self.arrays("baseline.npz"),
            self.arrays("validation.npz") if kept else None,
            len(history),
            history[-1]["validation"] if history else None,
            judge.weights() if (judge := self.part("judge")).complete else None,
            history,
        )


def state_arrays(weights: Mapping[str, Tensor]) -> dict[str, np.ndarray[Any, Any]]:
    """Convert weights [out, in] to float32 arrays by name, for the exporters."""
    return {name: np.ascontiguousarray(tensor.cpu().numpy(), np.float32) for name, tensor in weights.items()}
