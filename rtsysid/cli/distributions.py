"""The benchmark of distributions: train each member on each ground, and print their scores."""

from __future__ import annotations

from pathlib import Path

import msgspec

from rtsysid.cli import console

NAME = "generative"
HEADER = [
    "ground", "futures of", "seed", "energy score", "ratio to residuals", "variogram", "% in 90, 1 tick", "10 ticks",
    "50 ticks", "RMSE of the mean", "s", "bytes", "MACs a tick",
]  # fmt: skip


def distributions(quick: bool, seeds: int | None, grounds: tuple[str, ...], out: Path, json_: bool) -> None:
    """Train what is not there yet, score it, and print a row for each distribution, seed and null model.

    `grounds`: all where it is empty.
    """
    from rtsysid.experiments.generative import (
        FULL,
        GROUNDS,
        QUICK,
        DistributionRow,
        compare_distributions,
        require_grounds,
    )
    from rtsysid.schedule import GENERATIVE
    from rtsysid.storage import enter
    from rtsysid.storage.products import BENCHMARK

    require_grounds(grounds)
    enter(out, BENCHMARK)
    amount = QUICK if quick else FULL
    amount = amount if seeds is None else amount._replace(seeds=seeds)
    rows = list[DistributionRow]()
    for item in compare_distributions(grounds or GROUNDS, GENERATIVE, amount, out / ("quick" if quick else "full")):
        if isinstance(item, DistributionRow):
            rows.append(item)
            ratio = "{:.3f} ({:.3f} to {:.3f})".format(*item.scores.ratio)
            console.echo(f"{item.ground}: {item.name} seed {item.seed}, ratio to residuals {ratio}", err=True)
        else:
            console.echo(f"{item.stage} {item.epoch}/{item.epochs}, loss {item.validation:.4g}", err=True)
    if json_:
        return console.report({"quick": quick, "rows": msgspec.to_builtins(rows)}, True)
    return console.block(console.table(HEADER, [row.cells() for row in rows]))
