"""Draw recordings with matplotlib, which the extra `plot` installs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rtsysid.guards.extras import PLOT, extra_module
from rtsysid.recordings.episode import Episode
from rtsysid.spec import Channel

WIDTH, HEIGHT, MOST = 9.0, 1.6, 24  # inches of a figure and of a panel; panels


def recording_figure(channels: Sequence[Channel], episodes: Sequence[Episode]) -> Any:
    """Draw every channel over time, one panel for each group, or for each channel without one: a Figure.

    Raises RtsysidError where matplotlib is not installed.
    """
    groups: dict[str, list[int]] = {}
    for column, channel in enumerate(channels):
        groups.setdefault(channel.group or channel.name, []).append(column)
    shown = list(groups.values())[:MOST]
    figure, axes = panels([axis_label([channels[c] for c in columns]) for columns in shown])
    for axis, columns in zip(axes, shown, strict=True):
        for number, episode in enumerate(episodes):
            axis.set_prop_cycle(None)  # a channel keeps its colour in every episode
            for column in columns:
                axis.plot(episode.t, episode.values[:, column], lw=1, label=None if number else channels[column].name)
        if len(columns) > 1:
            axis.legend(loc="upper right", fontsize="small")
    return figure


def panels(labels: Sequence[str]) -> tuple[Any, list[Any]]:
    """Make a Figure of panels, one below the other, with a common time axis. Raises RtsysidError without matplotlib."""
    pyplot = extra_module("matplotlib.pyplot", PLOT)
    size = (WIDTH, HEIGHT * len(labels) + 0.6)
    figure, grid = pyplot.subplots(len(labels), 1, sharex=True, squeeze=False, figsize=size, layout="constrained")
    axes = list(grid[:, 0])
    for axis, label in zip(axes, labels, strict=True):
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("time [s]")
    return figure, axes


def axis_label(channels: Sequence[Channel]) -> str:
    """Name the group, or the channel, and its unit."""
    name = channels[0].group if len(channels) > 1 else channels[0].name
    return f"{name}\n[{channels[0].unit}]" if channels[0].unit else name
