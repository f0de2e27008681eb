"""Run the studies of novelty detection and of intervals, and print their tables. Both use the same models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rtsysid.cli import console

if TYPE_CHECKING:
    from rtsysid.benchmarks.coverage import Coverage
    from rtsysid.benchmarks.novelty import FalseAlarms, FaultDetection, UnseenNovelty
    from rtsysid.benchmarks.studies import Subject

NAMES = ("novelty", "intervals")
INTERVAL_HOURS = 0.1  # of simulated flight: enough recordings that no single one dominates
QUICK, FULL = (0.2, 2.0), (1.0, 12.0)  # share of the epochs, hours of simulated flight


def study(name: str, quick: bool, out: Path | None, json_: bool) -> None:
    """Train the models that do not exist yet, measure, and print the tables of a study."""
    from rtsysid.storage import enter
    from rtsysid.storage.products import BENCHMARK

    workspace = out or Path("out/benchmarks/studies")
    enter(workspace, BENCHMARK)
    folder = workspace / ("quick" if quick else "full")
    share, hours = QUICK if quick else FULL
    if name == "novelty":
        return print_novelty(list(_trained_subjects(folder, share, hours)), json_)
    return print_coverages(list(_trained_subjects(folder, share, INTERVAL_HOURS, sampling=True)), json_)


def print_novelty(subjects: Sequence[Subject], json_: bool) -> None:
    """Print false alarms, detection delays, and novelty on recordings of unseen kinds."""
    from rtsysid.benchmarks.novelty import false_alarms, fault_detections, unseen_novelty

    known = [each for each in subjects if not each.unseen]
    wrong = [row for each in known for row in false_alarms(each)]
    detections = [row for each in known if each.name != "simulated" for row in fault_detections(each)]
    unseen = [row for each in subjects if each.unseen for row in unseen_novelty(each)]
    if json_:
        fields = {"false_alarms": wrong, "faults": detections, "manoeuvres": unseen}
        return console.report(msgspec.to_builtins(fields), True)
    header = [
        "recordings",
        "nominal per h",
        "hours",
        "expected",
        "counted",
        "ratio",
        "ratio of others: 10/50/90 %, mean",
    ]
    console.block(console.table(header, list(map(_false_alarm_cells, wrong))))
    console.block(
        "\n"
        + console.table(
            ["recordings", "fault", "injected", "noticed", "p50 ms", "p90 ms"], list(map(_detection_cells, detections))
        )
    )
    header = ["model", "recordings", "count", "ticks novel", "with an alarm", "first alarm s"]
    console.block("\n" + console.table(header, list(map(_novelty_cells, unseen))))
    return None


def print_coverages(subjects: Sequence[Subject], json_: bool) -> None:
    """Print the coverage on recordings of the training kinds, and of unseen kinds."""
    from rtsysid.benchmarks.coverage import SHOWN, coverages, own_coverages, sampled_coverages, unseen_coverages

    known = [each for each in subjects if not each.unseen]
    own = [row for each in known for row in own_coverages(each)]
    like = [row for each in known for row in coverages(each)]
    sampled = [row for each in subjects if each.bundle.spec.distribution for row in sampled_coverages(each)]
    unlike = [row for each in subjects if each.unseen for row in unseen_coverages(each)]
    if json_:
        return console.report(
            msgspec.to_builtins({"own": own, "held_out": like, "sampled": sampled, "unlike_training": unlike}), True
        )
    header = [
        "recordings",
        "count",
        "outputs",
        "stated",
        *(f"{n} ticks" for n in SHOWN),
        "all 1..50",
        "worst recording",
    ]
    for title, rows in (
        ("not used for training or calibration", own),
        ("\nleft out one at a time, calibrated on the others", like),
        ("\nsampled futures of a model with a distribution", sampled),
        ("\nof kinds that were not trained on", unlike),
    ):
        console.block(f"{title}\n{console.table(header, list(map(_coverage_cells, rows)))}")
    return None


def _trained_subjects(folder: Path, share: float, hours: float, *, sampling: bool = False) -> Iterator[Subject]:
    from rtsysid.benchmarks.studies import Subject
    from rtsysid.experiments.studies import subjects

    for item in subjects(folder, share, hours, sampling=sampling):
        if isinstance(item, Subject):
            yield item
        else:
            console.echo(f"{item.stage} {item.epoch}/{item.epochs}, loss {item.validation:.4g}", err=True)


def _false_alarm_cells(row: FalseAlarms) -> list[str]:
    others = f"{' / '.join(f'{r:.2f}' for r in row.spread[:3])}, {row.spread[3]:.2f}" if row.spread else ""
    expected = row.nominal * row.hours
    return [
        row.subject,
        f"{row.nominal:.3g}",
        f"{row.hours:.3g}",
        f"{expected:.2g}",
        str(row.counted),
        f"{row.ratio:.2f}",
        others,
    ]


def _detection_cells(row: FaultDetection) -> list[str]:
    share = f"{100 * row.noticed / row.injected:.0f} %" if row.injected else ""
    return [row.subject, row.fault, str(row.injected), share, f"{row.p50 * 1e3:.0f}", f"{row.p90 * 1e3:.0f}"]


def _novelty_cells(row: UnseenNovelty) -> list[str]:
    return [
        row.subject,
        row.recordings,
        str(row.count),
        f"{100 * row.share:.2f} %",
        str(row.alarmed),
        f"{row.first_s:.1f}",
    ]


def _coverage_cells(row: Coverage) -> list[str]:
    cells = (f"{100 * share:.1f}" for share in row.measured)
    return [row.subject, str(row.recordings), row.group, f"{100 * row.stated:.0f}", *cells, f"{100 * row.worst:.1f}"]
