"""Show the scores of sampled futures, for models with a distribution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rtsysid.evaluation.probabilistic.evaluate import ProbabilisticEvaluation, sample_lines
from rtsysid.evaluation.report.html import html_table
from rtsysid.evaluation.report.judged import JudgedModel
from rtsysid.evaluation.report.tree import Node, el


def sampled_nodes(models: Sequence[JudgedModel]) -> Iterator[Node]:
    """Yield a table and its sentences for each model that was sampled; nothing where none was."""
    for model in (each for each in models if each.samples is not None):
        assert model.samples is not None
        yield _html_scores(model.samples)
        yield el("p", ". ".join(f"{line[0].upper()}{line[1:]}" for line in sample_lines(model.samples)) + ".")
        if model.samples.known is not None:
            yield el("p", "Without these recordings:")
            yield _html_scores(model.samples.known)
            if model.samples.known.log_score is not None:
                yield el("p", f"{model.samples.known.log_score.line.capitalize()}.")


def _html_scores(scores: ProbabilisticEvaluation) -> Node:
    header, *rows = scores.table()
    return html_table(header, rows)
