"""Models with random weights that together have every variant, cell, option and kind of coordinates."""

from __future__ import annotations

from typing import Any

import torch
from support.robots import (
    AGED,
    make_angle_spec,
    make_attitude_spec,
    make_body_spec,
    make_braked_spec,
    make_driven_spec,
    make_moving_spec,
    make_spec,
    make_turret_spec,
    set_gains,
)

from rtsysid.train.network import Network

DEEP = "lstm-tdl-deep-aeu"
BODY: dict[str, Any] = {"rigid_body": True}
# Forecasts in lanes begin with one row that all of them share.
YOUNG: dict[str, Any] = {**AGED, "encoder_taps": 2, "head_sees_code": True}
RELATIVE: dict[str, Any] = {"relative": ("y0",), "degree": 2}
# A build costs seconds: every option once, with a variant each, so that every variant meets every kind of option.
CASES: list[tuple[str, dict[str, Any]]] = [
    (DEEP, {}),
    ("lstm", {"feedback": ("y0", "y2"), "linear_path": True}),
    (
        "lstm-tdl",
        {"feedback": False, "state_init": "zero", "age_bands": (2, 5), "encoder_taps": 2, "head_sees_code": True},
    ),
    ("lstm-tdl-aeu", {"state_init": "network", "output": "absolute"}),
    ("lstm-tdl", {"feedback": ("y0", "y2"), "degree": 3}),
    (DEEP, RELATIVE),
    ("lstm", BODY),
    ("lstm-tdl", {"rigid_body": True, "linear_path": True, "state_init": "network"}),
    (DEEP, {"rotors": True, "linear_path": True, "state_init": "network"}),
    ("lstm-tdl-aeu", {"kinematics": True, "linear_path": True, "near_ticks": 3}),
    ("lstm-tdl-aeu", {"integrate": (("y1", "y2"),), "linear_path": True}),
    ("lstm", {"friction": True, "linear_path": True}),
    ("lstm-tdl", {"friction": True, "linear_path": True, "state_init": "network"}),
    ("lstm-tdl", {"angles": True, "degree": 2, "friction": (("y0", 40.0),), "linear_path": True}),
    ("lstm-tdl-aeu", {"turret": True}),
    ("lstm-tdl-aeu", {"attitude": True, **YOUNG}),
    ("lstm-tdl", {"cell": "gru", "state_init": "network"}),
    (DEEP, {"cell": "gru", "hidden": 37, "linear_path": True, "head_sees_code": True}),
]
MADE = {
    "friction": make_braked_spec,
    "rigid_body": make_body_spec,
    "kinematics": make_moving_spec,
    "rotors": make_driven_spec,
    "angles": make_angle_spec,
    "turret": make_turret_spec,
    "attitude": make_attitude_spec,
}


def make_network(variant: str, choice: dict[str, Any], seed: int = 4) -> Network:
    torch.manual_seed(seed)
    kinds = [name for name in MADE if choice.get(name) is True]  # `friction` may also be a field of another kind
    rest = {key: value for key, value in choice.items() if key not in kinds}
    make = MADE[kinds[0]] if kinds else make_spec
    return set_gains(Network(make(variant, **rest)).eval())
