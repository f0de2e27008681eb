"""Structure: the choices that define a model, and the sizes that follow from them.

Use `rtsysid.spec.ModelSpec`, which is a `Structure` that was checked; `rtsysid.spec` offers the other names, too.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from rtsysid.channels import Channel, rotation_columns
from rtsysid.guards import ranges

CellName: TypeAlias = Literal["lstm", "gru"]
Variant: TypeAlias = Literal["lstm", "lstm-tdl", "lstm-tdl-aeu", "lstm-tdl-deep-aeu"]
DistributionName: TypeAlias = Literal["", "gaussian", "mixture", "variational", "vrnn", "gan", "gsn", "ensemble"]

VARIANTS: tuple[Variant, ...] = ("lstm", "lstm-tdl", "lstm-tdl-aeu", "lstm-tdl-deep-aeu")
INITIALISER_WIDTH = 64  # hidden units of the network that sets the first state
STANDARD_GRAVITY = 9.80665  # m/s^2; Ref: 3rd CGPM, 1901


class CellShape(NamedTuple):
    """Sizes of a recurrent cell, in units of its hidden width."""

    gates: int  # rows of its input matrix and of its hidden matrix
    state: int  # values that it carries from one tick to the next
    biases: int  # two biases that are only ever added count as one
    forget_gate: bool  # whether `train.forget_ticks` can initialise it


CELLS: dict[CellName, CellShape] = {
    "lstm": CellShape(gates=4, state=2, biases=4, forget_gate=True),
    "gru": CellShape(gates=3, state=1, biases=4, forget_gate=False),
}


class NoiseShape(NamedTuple):
    """Sizes of what a distribution draws for one future; see docs/generative.md."""

    latent: int  # values of a tick that enter the cell; `WHOLE_CODE`: one for each value of the code
    members: int  # heads or components: one for each future
    factors: int  # slow values, which follow an AR(1) process


WHOLE_CODE = -1
DISTRIBUTIONS: dict[DistributionName, NoiseShape] = {
    "gaussian": NoiseShape(0, 1, 4),
    "mixture": NoiseShape(0, 3, 4),
    "variational": NoiseShape(WHOLE_CODE, 1, 0),
    "vrnn": NoiseShape(8, 1, 0),
    "gan": NoiseShape(4, 1, 4),
    "gsn": NoiseShape(WHOLE_CODE, 1, 0),
    "ensemble": NoiseShape(0, 5, 4),
}


class Rotors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold the known physics of a body that flies on rotors: forces and torques by squared speeds, one entry per rotor.

    ``speeds``: inputs, rad/s. ``x``, ``y``: positions of the rotors in the body frame, m. ``spin``: 1 where the drag of
    a rotor turns the body about +z, else -1. ``thrust``: N/(rad/s)^2 along +z. ``drag``: N m/(rad/s)^2. ``mass``: kg.
    ``inertia``: about x, y and z, kg m^2. The model predicts the residual. ``learned``: squared speeds are features, so
    that the linear path corrects the constants.
    """

    speeds: tuple[str, ...]
    x: tuple[ranges.Finite, ...]
    y: tuple[ranges.Finite, ...]
    spin: tuple[Literal[-1, 1], ...]
    thrust: ranges.Finite
    drag: ranges.Finite
    mass: ranges.Positive
    inertia: tuple[ranges.Positive, ranges.Positive, ranges.Positive]
    learned: bool = False


class RigidBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Name the outputs that describe one rigid body. Its model does not depend on position and heading.

    ``attitude``: quaternion x, y, z, w from body to world. ``rate``: rotation rate in the body frame, rad/s.
    ``velocity``, ``position``: in the world frame, z up. Only the attitude is required.

    ``kinematics``: the model predicts accelerations only, and the motion follows from them exactly. This needs the
    rate, and the velocity where there is a position. ``gravity``: in m/s^2, downward; 0 where the velocities do not
    contain it.
    """

    attitude: tuple[str, ...]
    rate: tuple[str, ...] = ()
    velocity: tuple[str, ...] = ()
    position: tuple[str, ...] = ()
    kinematics: bool = False
    gravity: ranges.Finite = STANDARD_GRAVITY
    rotors: Rotors | None = None  # with kinematics and a velocity


class Scaling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold the statistics of the training recordings that the model graph scales with.

    ``std``, ``low``, ``high``: per channel [C], in engineering units. ``seen_low``, ``seen_high``: per channel [C], of
    rows as `rtsysid.model.coordinates.seen` shows them; for a rigid body and for angles, otherwise empty.
    ``feature_mean``, ``feature_std``: per feature of a window's row [K]. ``target_mean``, ``target_std``: per target
    [T], what the head predicts.
    """

    std: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    feature_mean: tuple[float, ...] = ()
    feature_std: tuple[float, ...] = ()
    target_mean: tuple[float, ...] = ()
    target_std: tuple[float, ...] = ()
    seen_low: tuple[float, ...] = ()
    seen_high: tuple[float, ...] = ()


class Structure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """Hold the choices that define a model, and compute the sizes that follow from them.

    Ref: variants after M. Mozifian's 2017 talk on autoencoders for dynamic system modelling; initialiser network after
    N. Mohajerin and S. Waslander, arXiv 1806.00526.
    """

    channels: tuple[Channel, ...]  # inputs first, then outputs
    rate_hz: ranges.RateHz
    scaling: Scaling = Scaling()  # empty until the recordings have been seen
    taps: ranges.Width = 16
    encoder: tuple[ranges.Width, ...] = (64, 16)  # width of each encoder layer; the last is the code; none: no encoder
    variational: bool = False  # the code is a normal distribution; a deployed model uses its mean
    cell: CellName = "lstm"  # the recurrent cell
    hidden: ranges.Width = 64
    feedback: bool | tuple[str, ...] = True  # outputs in the window: all, none, or these
    output: Literal["increment", "absolute"] = "increment"
    relative: tuple[str, ...] = ()  # outputs that enter the window as differences to its newest row
    degree: ranges.Degree = 1  # 3: the window contains y, y^2 and y^3, as a cubic spring needs
    rigid_body: RigidBody | None = None  # see `rtsysid.model.coordinates`
    integrate: tuple[tuple[str, str], ...] = ()  # pairs (position, velocity): the position is the integral
    friction: tuple[
        tuple[str, ranges.Positive], ...
    ] = ()  # (output, v0): feature tanh(v / v0), v0 in the output's unit/s
    linear_path: bool = False  # a linear map of the window predicts, and the network corrects it
    state_init: Literal["warmup", "network", "zero"] = "warmup"
    warmup: ranges.CountOrNone = 30  # teacher-forced steps before the state counts as initialised
    near_ticks: ranges.CountOrNone = 0  # another linear map predicts from rows younger than this; needs linear_path
    age_bands: tuple[ranges.Count, ...] = ()  # first age of each further band; a band has gains of its own
    encoder_taps: ranges.CountOrNone = 0  # newest rows that encoder and cell see; 0: the whole window
    distribution: DistributionName = ""  # of sampled futures; "": the model predicts points
    head_sees_code: bool = False  # the head predicts from the code of the same tick, too, past the cell

    @property
    def variant(self) -> Variant:
        """Name the model in the words of the source talk, by its taps and its encoder."""
        return variant_of(self.taps, self.encoder)

    @cached_property
    def inputs(self) -> tuple[Channel, ...]:
        return tuple(c for c in self.channels if c.role == "input")

    @cached_property
    def outputs(self) -> tuple[Channel, ...]:
        return tuple(c for c in self.channels if c.role == "output")

    @property
    def width(self) -> int:
        """Number of values per sample."""
        return len(self.channels)

    @property
    def n_inputs(self) -> int:
        return len(self.inputs)

    @property
    def n_outputs(self) -> int:
        return len(self.outputs)

    @cached_property
    def columns(self) -> tuple[int, ...]:
        """Columns of a sample in the window: inputs, then outputs with feedback, those seen as distances last."""
        known = {c.name for c in self.outputs} if self.feedback is True else set(self.feedback or ())
        seen = [i for i, c in enumerate(self.channels) if c.name in known]
        return (*range(self.n_inputs), *sorted(seen, key=lambda i: i in self.distances))

    @cached_property
    def distances(self) -> frozenset[int]:
        """Columns that the window shows as distances from its newest row: relative outputs, and angles."""
        return frozenset(i for i, c in enumerate(self.channels) if c.name in self.relative or c.angle)

    @cached_property
    def directions(self) -> tuple[int, ...]:
        """Columns of angles in the window whose direction is seen, as sine and cosine: those that are not relative."""
        return tuple(
            i for i, c in enumerate(self.channels) if c.angle and i in self.columns and c.name not in self.relative
        )

    @cached_property
    def rotations(self) -> tuple[tuple[int, ...], ...]:
        """Columns of each quaternion x, y, z, w in a sample: groups of unit ``quat``, and the attitude of a body."""
        grouped = rotation_columns(self.channels)
        names = [channel.name for channel in self.channels]
        attitude = () if self.rigid_body is None else tuple(names.index(n) for n in self.rigid_body.attitude)
        return (*grouped, *([attitude] if attitude and set(attitude) not in map(set, grouped) else []))

    @cached_property
    def quaternions(self) -> tuple[tuple[int, ...], ...]:
        """Outputs x, y, z, w of each quaternion that plain coordinates keep at length one."""
        return tuple(rotation_columns(self.outputs)) if self.rigid_body is None else ()

    @cached_property
    def age_changes(self) -> tuple[int, ...]:
        """Ages at which the prediction changes, ascending; empty where the model does not depend on the age of a row.

        The age of a row is the number of ticks since the newest measurement: 0 for a measured sample.
        """
        return tuple(sorted({*([self.near_ticks] if self.near_ticks else []), *self.age_bands}))

    @property
    def n_bands(self) -> int:
        """Bands of ages, each with its own gains; 0 where the model has none."""
        return len(self.age_bands) + 1 if self.age_bands else 0

    def band(self, age: int) -> int:
        """Return the band that an age belongs to, counted from 0."""
        return bisect_right(self.age_bands, age)

    @cached_property
    def mixed_outputs(self) -> tuple[tuple[int, int], ...]:
        """Pairs of outputs that a turn of the world about its vertical mixes: of a body's vectors and its attitude."""
        if self.rigid_body is None:
            return ()
        names, body = [channel.name for channel in self.outputs], self.rigid_body
        pairs = (body.velocity[:2], body.position[:2], body.attitude[:2], body.attitude[2:])
        return tuple((names.index(pair[0]), names.index(pair[1])) for pair in pairs if pair)

    def turn_start(self, column: int) -> float:
        """Return the lower end of the interval of one turn in which an angle was recorded: 0, or minus half a turn."""
        half, scaling = self.channels[column].period / 2, self.scaling
        positive = bool(scaling.low) and scaling.low[column] >= 0 and scaling.high[column] > half
        return 0.0 if positive else -half

    @cached_property
    def free_columns(self) -> tuple[int, ...]:
        """Columns whose level does not change a prediction: not in the window, or relative to its newest row."""
        free = self.relative if self.rigid_body is None else self.rigid_body.position
        return tuple(i for i, c in enumerate(self.channels) if i not in self.columns or c.name in free)

    @property
    def n_features(self) -> int:
        """Features per row of the window; in body coordinates a rotation is three numbers."""
        fed_back = len(self.columns) - self.n_inputs
        return len(self.columns) + (self.degree - 1) * fed_back - (self.rigid_body is not None)

    @property
    def n_targets(self) -> int:
        """Values that the head predicts; with kinematics, rotation and position follow from rate and velocity."""
        body = self.rigid_body
        if body is None:
            return self.n_outputs - len(self.integrate)
        return self.n_outputs - 1 - (3 + len(body.position) if body.kinematics else 0)

    @property
    def window_size(self) -> int:
        """Features of the whole window, extra features included."""
        return self.taps * self.n_features + self.n_tail

    @property
    def encoder_rows(self) -> int:
        """Newest rows of the window that the encoder sees, or the cell where there is no encoder."""
        return self.encoder_taps or self.taps

    @property
    def encoder_window(self) -> int:
        """Features of these rows, extra features included."""
        return self.encoder_rows * self.n_features + self.n_tail

    @cached_property
    def encoder_columns(self) -> slice:
        """Columns that the encoder sees of the features of a window [..., F]: the last ones."""
        return slice(-self.encoder_window, None)

    @property
    def n_tail(self) -> int:
        """Extra features: friction; for a body its vertical, and the squared speeds of learned rotors; directions."""
        body, directions = self.rigid_body, 2 * len(self.directions)
        return directions + (len(self.friction) if body is None else 3 + self.n_lifts)

    @property
    def n_lifts(self) -> int:
        """Squared speeds of learned rotors among the features."""
        rotors = None if self.rigid_body is None else self.rigid_body.rotors
        return len(rotors.speeds) if rotors is not None and rotors.learned else 0

    @property
    def settling_samples(self) -> int:
        """Samples until the state counts: a whole window, and the warm-up where there is one."""
        return self.taps + (self.warmup if self.state_init == "warmup" else 0)

    @property
    def state_size(self) -> int:
        """Values S of the state that the recurrent cell carries; the first `hidden` of them are its output h."""
        return CELLS[self.cell].state * self.hidden

    @property
    def code_size(self) -> int:
        """Width of what enters the recurrent cell: the code, or the features themselves where there is no encoder."""
        return self.encoder[-1] if self.encoder else self.encoder_window

    @cached_property
    def noise(self) -> NoiseShape:
        """Sizes of what is drawn for one future."""
        wanted = DISTRIBUTIONS.get(self.distribution, NoiseShape(0, 0, 0))
        return wanted._replace(latent=self.code_size) if wanted.latent == WHOLE_CODE else wanted

    @property
    def n_draws(self) -> int:
        """Normal numbers drawn at each tick of a future: latent, one for each target, slow."""
        return self.noise.latent + self.n_targets + self.noise.factors if self.distribution else 0

    @property
    def head_size(self) -> int:
        """Values that the head sees: the code where it sees that, then the output h of the cell."""
        return self.hidden + (self.code_size if self.head_sees_code else 0)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one step, without the decoder (which serves novelty, not prediction)."""
        widths = (self.encoder_window, *self.encoder)
        layers = sum(a * b for a, b in itertools.pairwise(widths))
        cell = CELLS[self.cell].gates * self.hidden * (self.code_size + self.hidden)
        linear_path = self.window_size if self.linear_path else 0
        return layers + cell + (self.head_size + linear_path) * self.n_targets

    @property
    def parameters(self) -> int:
        """Weights and biases of one step, without the decoder; two biases that are only added count as one."""
        cell, near = CELLS[self.cell].biases * self.hidden, (self.window_size + 1 if self.near_ticks else 0)
        per_target = 1 + self.linear_path + near + (1 + self.linear_path) * self.n_bands
        return self.macs + sum(self.encoder) + cell + per_target * self.n_targets


def variant_of(taps: int, encoder: Sequence[int]) -> Variant:
    """Name a model in the words of the source talk: by its delay line and its encoder layers."""
    if not encoder:
        return "lstm-tdl" if taps > 1 else "lstm"
    return "lstm-tdl-deep-aeu" if len(encoder) > 1 else "lstm-tdl-aeu"
