"""A model that depends on the age of its rows, from its configuration to the robot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.hostile import rehashed
from support.robots import AGED, TINY, ages_for, make_driven_spec, make_spec, plant, set_gains

from export.bundle import export
from export.compile import compile_library
from export.firmware import available, build_image
from export.to_c import c_sources
from firmware_bridge import emulator
from firmware_bridge.board import channel_header
from firmware_bridge.schema import Schema
from rtsysid.config import parse_config
from rtsysid.errors import BundleError, ConfigError, ScheduleError, SpecError
from rtsysid.live.session import Session
from rtsysid.model.backends.c_backend import CBackend, machines
from rtsysid.model.bundle import Bundle
from rtsysid.model.golden import golden_of, relative_error
from rtsysid.model.loading import backends_of
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Trace
from rtsysid.schedule import GROUPS, groups_of
from rtsysid.spec import Floats, Sample, from_builtins, to_builtins
from rtsysid.train.fit import begin
from rtsysid.train.network import Network
from rtsysid.train.run import state_arrays

YOUNG = TINY.replace(
    "linear_path = true",
    "linear_path = true\nnear_ticks = 3\nage_bands = [2, 40]\nencoder_taps = 2\nhead_sees_code = true",
).replace('train = ["cell", "head"]', 'train = ["cell", "head", "linear_near"]')
FRESH = ("d1f38c1033eb6a2f", "06a09e5fb64dd49d")  # fingerprints of two models, made before models had ages


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, tiny_trace: Trace) -> Bundle:
    """A model with two linear maps and three bands of gains, one of which holds the second output."""
    folder = tmp_path_factory.mktemp("young")
    for _ in begin(parse_config(YOUNG), tiny_trace, folder / "run", YOUNG).epochs():
        pass
    weights = load_file(folder / "run" / "weights.safetensors")
    for name in ("linear_gain", "head_gain"):
        weights[name][:] = torch.tensor([[1.0, 0.5], [0.9, 1.0], [0.8, 0.0]])
    save_file(weights, folder / "run" / "weights.safetensors")
    return export(folder / "run", folder / "bundle")[0]


@pytest.fixture
def predictors(bundle: Bundle) -> list[Predictor]:
    return [Predictor.load(bundle, name) for name in backends_of(bundle)]  # type: ignore[arg-type]


def test_stages_train_the_near_map_and_no_gain(bundle: Bundle) -> None:
    """The group `linear_near` trains; the gains are no group, and their targets have a mean of 0."""
    weights, spec = bundle.arrays("weights.npz"), bundle.spec
    assert not np.array_equal(weights["linear_near.weight"], weights["linear_path.weight"])
    assert "linear_near" in groups_of(spec)
    assert not any("gain" in group for group in GROUPS)
    assert spec.scaling.target_mean == (0.0, 0.0)


def test_every_backend_knows_the_age(predictors: list[Predictor]) -> None:
    """With gaps a session predicts the same on every backend, twice the same, and not what rows of age 0 would give."""
    rows, spec = plant(1, 120, seed=5).episodes[0].values, predictors[0].spec
    kept = [k for k in range(len(rows)) if k % 17 not in (9, 10, 11)]
    samples = [Sample(k / spec.rate_hz, rows[k]) for k in kept]
    found = [np.stack([p.y for p in Session(each).run(samples)]) for each in predictors]
    again = np.stack([p.y for p in Session(predictors[0]).run(samples)])
    assert again.tobytes() == found[0].tobytes()
    for other in found[1:]:
        assert relative_error(other, found[0], spec) < 1e-4
    first = predictors[-1]
    steps = [(first.step(rows[20], age).copy(), first.step(rows[20], 0).copy()) for age in (1, 2, 3, 40)]
    assert len({old.tobytes() for old, _ in steps}) == 4


def test_a_gain_of_zero_holds(predictors: list[Predictor]) -> None:
    """From age 40 on the second output keeps its value, to the last bit, on every backend; and so within a forecast."""
    rows = plant(1, 30, seed=5).episodes[0].values
    for predictor in predictors:
        predictor.reset()
        for row in rows:
            y = predictor.step(row, 40)
        assert y[1] == rows[-1, 2]
        assert y[0] != rows[-1, 1]
        predictor.step(rows[-1], 30)
        forecast = predictor.forecast(rows[:20, :1])
        assert (np.diff(forecast[9:, 1]) == 0).all()
        assert (np.diff(forecast[:10, 1]) != 0).all()


@pytest.mark.parametrize(
    "change",
    [lambda a: a * 0, lambda a: a - 1, lambda a: np.minimum(a, 39), lambda a: a + 2**40],
    ids=range(4),
)
def test_a_golden_trace_of_few_ages_is_refused(bundle: Bundle, tmp_path: Path, change: Callable[..., Any]) -> None:
    """Ages that leave out a band or a map, or are none, prove nothing about it."""

    def altered(folder: Path, content: dict[str, Any]) -> None:
        with np.load(folder / "golden.npz", allow_pickle=False) as stored:
            kept = dict(stored)
        np.savez(folder / "golden.npz", allow_pickle=False, **{**kept, "ages": change(kept["ages"])})

    with pytest.raises(BundleError, match=r"golden\.npz"):
        golden_of(Bundle.open(rehashed(bundle.folder, tmp_path / "b", altered)))


def test_link_6_the_emulated_cortex_steps_rows_of_every_age(tmp_path: Path) -> None:
    """A rigid body with two maps and gains, on the emulated Cortex-M4F: the bits of strict C here."""
    if not (available() and emulator.emulator_available()):
        pytest.skip("wants the packages that `make hil` installs")
    torch.manual_seed(4)
    network = set_gains(Network(make_driven_spec("lstm-tdl-aeu", head_sees_code=True, **AGED)).eval())
    spec, sources = network.spec, c_sources(network.spec, state_arrays(network.state_dict()))
    rows = np.random.default_rng(1).standard_normal((60, spec.width)).astype(np.float32)
    ages = ages_for(spec, len(rows))
    image = build_image(
        "replay", {**sources, "channels.h": channel_header(Schema.of(spec.channels, spec.rate_hz))}, tmp_path / "a.elf"
    )
    there = emulator.replay_image(image.path, np.column_stack((rows, ages)), spec.n_outputs).y
    library = compile_library(sources, tmp_path / "m.so", machines()[-1], "strict").read_bytes()
    assert there.tobytes() == stepped(Predictor(spec, CBackend(spec, library)), rows, ages).tobytes()


def stepped(predictor: Predictor, rows: Floats, ages: list[int]) -> Floats:
    return np.stack([predictor.step(row, age).copy() for row, age in zip(rows, ages, strict=True)])


def test_a_model_without_ages_is_what_it_was() -> None:
    """Fields at their default change no fingerprint, and are not written; others are, and make another model."""
    models = make_spec(), make_driven_spec(linear_path=True)
    assert tuple(spec.fingerprint for spec in models) == FRESH
    assert not {"near_ticks", "age_bands"} & to_builtins(models[0]).keys()
    aged = make_spec(**AGED)
    assert from_builtins(to_builtins(aged)) == aged
    assert len({spec.fingerprint for spec in (make_spec(linear_path=True), aged, make_spec(age_bands=(2,)))}) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"near_ticks": 3}, "near_ticks: the model has no linear path"),
        ({"age_bands": (3, 3)}, "ascending order"),
        ({"age_bands": (0, 3)}, "from 1 on"),
        ({"age_bands": tuple(range(1, 20))}, "age_bands: 19; give 12 or less"),
        ({"near_ticks": 2_000_000, "linear_path": True}, "near_ticks: 2000000"),
        ({"near_ticks": -1, "linear_path": True}, "near_ticks: -1"),
    ],
)
def test_ages_that_contradict_are_one_line(change: dict[str, Any], words: str) -> None:
    """A near map without a linear path, bands in no order or too many, and a number beyond all reason."""
    with pytest.raises(SpecError, match=words):
        msgspec.structs.replace(make_spec(), **change)


def test_bands_want_targets_without_a_mean() -> None:
    """A scaling whose targets have another mean than 0 is refused: a gain of 0 would not hold."""
    spec = make_spec()
    assert any(spec.scaling.target_mean)
    with pytest.raises(SpecError, match="mean is not 0"):
        msgspec.structs.replace(spec, age_bands=(2,))


def test_a_configuration_names_its_ages() -> None:
    """`near_ticks` and `age_bands` are read, and checked when they are read; a group that is not there is refused."""
    assert parse_config(YOUNG).model.age_bands == (2, 40)
    with pytest.raises(ConfigError, match="age_bands"):
        parse_config(YOUNG.replace("[2, 40]", "[0, 40]"))
    config = parse_config(YOUNG.replace("near_ticks = 3", "near_ticks = 0"))
    with pytest.raises(ScheduleError, match="has no linear_near"):
        begin(config, plant(), Path("nowhere"))


def test_an_age_is_not_negative() -> None:
    """A negative age is one line; so is one beyond all reason."""
    predictor = Predictor(make_spec(), None)  # type: ignore[arg-type]
    for age in (-1, 10**9):
        with pytest.raises(SpecError, match="age"):
            predictor.step(np.zeros(5, np.float32), age)
