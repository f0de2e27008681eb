"""Hold the score of a model on a benchmark, and format scores as table rows."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np


class Score(msgspec.Struct, frozen=True):
    """Hold the errors of a model under a protocol: ``errors[measure]``, in the units of the benchmark's measures."""

    model: str
    errors: dict[str, tuple[float, ...]]
    protocol: str = ""


def published(model: str, protocol: str, measures: Sequence[str], *figures: float | None) -> Score:
    """Make a published score: one figure per measure, None where none was published."""
    pairs = zip(measures, figures, strict=True)
    return Score(model, {name: (figure,) for name, figure in pairs if figure is not None}, protocol)


def score_rows(scores: Sequence[Score], measures: Sequence[str]) -> list[list[str]]:
    """Format scores as table rows: model, protocol, and one cell per measure; several seeds as mean ± deviation."""
    keys = dict.fromkeys((score.model, score.protocol) for score in scores)
    return [
        [*key, *(_cell([s for s in scores if (s.model, s.protocol) == key], name) for name in measures)] for key in keys
    ]


def _cell(scores: Sequence[Score], measure: str) -> str:
    figures = np.array([score.errors[measure] for score in scores if measure in score.errors])
    if not figures.size:
        return "-"
    spread = figures.std(axis=0, ddof=1) if len(figures) > 1 else np.zeros(figures.shape[1])
    pairs = zip(figures.mean(axis=0), spread, strict=True)
    return " / ".join(f"{mean:.4g}" + (f" ±{spread:.1g}" if spread else "") for mean, spread in pairs)
