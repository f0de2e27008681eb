"""Judge a small model for the tests of a report."""

from __future__ import annotations

from rtsysid.evaluation.report.judge import Judgement, judge
from rtsysid.evaluation.report.observed import observe
from rtsysid.model.bundle import Bundle
from rtsysid.recordings.trace import Trace


def judged(bundle: Bundle, trace: Trace, recordings: str = "all") -> Judgement:
    """The numbers of a report with forecasts of 20 ticks, from each ninth tick."""
    every, evaluation = observe(bundle, trace, 20, 9)
    return judge(bundle, every, recordings, evaluation, 9)
