"""State the error to expect on new recordings, from what each fold of the recordings shows when it is left out."""

from __future__ import annotations

from typing import Any

import numpy as np

from rtsysid.evaluation.linear.choice import LinearChoice
from rtsysid.spec import Doubles

TICKS = (1, 2, 5, 10, 20, 50)
QUANTILE = 1.28  # of a normal distribution: 80 % lie inside
FLOOR = 0.04  # relative spread that no number of recordings rules out


def expected_errors(choice: LinearChoice) -> dict[str, Any]:
    """Return the expected error of the linear model by group and tick, and the interval that should hold 80 %."""
    judged = choice.judged
    logs = np.log(np.maximum(judged.errors, 1e-30))  # [f, G, N]
    reach = np.exp(QUANTILE * np.sqrt(logs.var(0, ddof=1) * (1 + 1 / len(logs)) + FLOOR**2))
    ticks = [n for n in TICKS if n <= reach.shape[1]]
    at = [n - 1 for n in ticks]
    values = {"error": judged.mean, "low": judged.mean / reach, "high": judged.mean * reach}
    groups = {
        group: {"ticks": ticks, **{name: each[row, at].tolist() for name, each in values.items()}}
        for row, group in enumerate(choice.groups)
    }
    return {"groups": groups}


def with_network(stated: dict[str, Any], ratio: Doubles) -> dict[str, Any]:
    """Scale expected errors by what the network leaves of the linear model's, [G, N]."""
    groups = {}
    for (name, group), row in zip(stated["groups"].items(), ratio, strict=True):
        factors = [row[n - 1] for n in group["ticks"]]
        scaled = {
            key: [value * factor for value, factor in zip(group[key], factors, strict=True)]
            for key in ("error", "low", "high")
        }
        groups[name] = {"ticks": group["ticks"], **scaled}
    return {"groups": groups}
