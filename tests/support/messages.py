"""Feeds of messages with everything that goes wrong on a robot, drawn by a seed."""

import numpy as np

from rtsysid.alignment.aligner import Aligner
from rtsysid.alignment.plan import AlignmentPlan, alignment_plan
from rtsysid.alignment.recorded import FeedMessages
from rtsysid.alignment.source import ChannelSource
from rtsysid.spec import Channel

CHANNELS = (
    Channel("u", role="input"),
    Channel("y", "m"),
    Channel("heading", "deg", angle=True),
    *(Channel(f"q{k}", "quat", group="attitude") for k in "xyzw"),
    *(Channel(f"w{k}", "rad/s", group="rate") for k in "xyz"),
)
SOURCES = {
    "u": ChannelSource(topic="/cmd", field="value", scale="1/2"),
    "y": ChannelSource(topic="/state", field="y", unit="mm", offset=3.0),
    "heading": ChannelSource(topic="/state", field="heading"),
    "attitude": ChannelSource(topic="/pose", fields=("w", "x", "y", "z"), order="wxyz", frames="ned-frd"),
    "rate": ChannelSource(topic="/pose", fields=("w", "x", "y", "z"), order="wxyz", derive="rate"),
}


def drawn_plan(rng: np.random.Generator) -> AlignmentPlan:
    """Return a plan at 100 Hz with a drawn lateness and drawn ages."""
    ages = {name: float(rng.choice([0.0, 0.05, 0.3, 1e8])) for name in SOURCES}
    sources = {name: ChannelSource(**{**vars_of(each), "max_age": ages[name]}) for name, each in SOURCES.items()}
    return alignment_plan(sources, CHANNELS, 100.0, float(rng.choice([0.0, 0.01, 0.03])))


def vars_of(source: ChannelSource) -> dict:
    return {name: getattr(source, name) for name in source.__struct_fields__}


def drawn_messages(rng: np.random.Generator, plan: AlignmentPlan) -> dict:
    """Return messages of each feed: jitter, reordering, NaN, lost stamps, steps of the clock, silence."""
    start = float(rng.choice([0.0, 1000.0, 1.7e9]))
    return {feed: _feed(rng, len(fields), start) for feed, fields in plan.feeds.items()}


def _feed(rng: np.random.Generator, width: int, start: float) -> FeedMessages:
    count, period = int(rng.integers(1, 200)), float(rng.choice([0.003, 0.01, 0.04]))
    arrival = start + np.sort(rng.uniform(0, count * period, count))
    t = arrival - rng.choice([0, 0.002, 0.03], count) * (rng.random() < 0.7)
    if rng.random() < 0.4:
        t[rng.integers(0, count) :] += rng.choice([-50, 30, 11.0])
    if rng.random() < 0.3:
        t[rng.integers(0, count)] = np.nan
    values = np.cumsum(rng.normal(size=(count, width)), 0) * 30
    values[rng.random(values.shape) < 0.05] = np.nan
    return FeedMessages(t, arrival, values)


def pushed(plan, messages) -> tuple[list, Aligner]:
    """Push the messages of all feeds in order of arrival, and take each row when it is due."""
    aligner, rows = Aligner(plan), []
    numbered = enumerate(messages.items())
    order = sorted((each.arrival[k], n, k, feed) for n, (feed, each) in numbered for k in range(len(each.t)))
    for _, _, k, feed in order:
        aligner.push(feed, float(messages[feed].t[k]), messages[feed].values[k].tolist())
        while (row := aligner.tick()) is not None:
            rows.append(row)
    return [*rows, *aligner.finish()], aligner
