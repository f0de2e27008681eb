"""The tasks: a figure of eight, one lap in six seconds, and a step in position. What a deviation costs.

The weights were chosen once, with the simulation itself as the model. All controllers and models share them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

OUTPUTS = ("vx", "vy", "vz", "qx", "qy", "qz", "qw", "wx", "wy", "wz", "x", "y", "z")
WEIGHTS = np.array([1, 1, 1.5, 0.3, 0.3, 1, 0, 0.006, 0.006, 0.006, 80, 80, 120], np.float32)  # of squares
HOVER = 0.62  # command of each motor
LAP, WIDTH, DEPTH, HEIGHT = 6.0, 1.2, 0.6, 1.5  # s, m
STEP_AT, STEP = 0.5, (0.5, 0.25, 0.2)  # s, m


class Task(NamedTuple):
    """A path: positions [N, 3] in m at times [N] in s. A flight on it lasts so many seconds."""

    name: str
    path: Callable[[np.ndarray], np.ndarray]
    seconds: float


def eight(t: np.ndarray) -> np.ndarray:
    """Compute the position at times t [N] in s: [N, 3] in m. It begins at rest."""
    turn, grown = 2 * np.pi / LAP * t, 1 - np.exp(-t)
    return np.stack((WIDTH * grown * np.sin(turn), DEPTH * grown * np.sin(2 * turn), HEIGHT + 0 * t), -1)


def step(t: np.ndarray) -> np.ndarray:
    """Compute the position at times t [N] in s: [N, 3] in m. It jumps once."""
    return np.array((0.0, 0.0, HEIGHT)) + (np.asarray(t)[:, None] >= STEP_AT) * np.array(STEP)


FIGURE_EIGHT, POSITION_STEP = Task("figure of eight", eight, 6.0), Task("step in position", step, 2.5)


def reference(task: Task, t: np.ndarray) -> np.ndarray:
    """Compute the wanted outputs at times t [N] in s: [N, ny]. Level, without yaw and without rotation."""
    wanted = np.zeros((len(t), len(OUTPUTS)), np.float32)
    wanted[:, 10:] = task.path(t)
    if task.path is not step:
        wanted[:, :3] = (task.path(t + 1e-3) - task.path(t)) / 1e-3
    wanted[:, 6] = 1.0
    return wanted


def cost(y: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Sum the weighted squares of the deviations of forecasts [..., N, ny]: [...]."""
    return ((y - wanted) ** 2 * WEIGHTS).sum((-2, -1))


def cost_by_output(y: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Differentiate `cost` by each output: [N, ny]."""
    return 2 * WEIGHTS * (y - wanted)


def effort(u: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Sum what plans [..., N, nu] cost by themselves: changes from the input before, and distance from hover."""
    change = np.diff(u, axis=-2, prepend=np.broadcast_to(last, (*u.shape[:-2], 1, u.shape[-1])))
    return 2.0 * (change**2).sum((-2, -1)) + 0.5 * ((u - HOVER) ** 2).sum((-2, -1))


def effort_by_input(u: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Differentiate `effort` by each input of a plan: [N, nu]."""
    change = np.diff(u, axis=0, prepend=last[None], append=u[-1:])
    return 4.0 * (change[:-1] - change[1:]) + (u - HOVER)
