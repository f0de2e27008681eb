"""Show a check as one HTML page."""

from __future__ import annotations

from collections.abc import Iterable

from rtsysid.checking.check import Checked
from rtsysid.checking.findings import Finding, time_text
from rtsysid.evaluation.report.html import SIGNS, html_table, page
from rtsysid.evaluation.report.tree import Node, el
from rtsysid.guards.release import VERSION
from rtsysid.storage.products import CHECK_PAGE


def check_page(name: str, checked: Checked) -> str:
    """Return the text of the page of a check of the recordings `name`."""
    body = [
        el("header", el("h1", name), el("p", f"{checked.recordings} recordings, {checked.rows} rows.", class_="quiet")),
        el("section", el("h2", "Summary"), _tiles(checked), id="summary"),
        el("section", el("h2", "Findings"), *_findings(checked), id="findings"),
        *([el("section", el("h2", "Inputs"), *_inputs_table(checked), id="inputs")] if checked.inputs else []),
        *([_list("Conventions", checked.conventions)] if checked.conventions else []),
        *([_list("Not checked", checked.notes)] if checked.notes else []),
        el("footer", f"rtsysid {VERSION}. docs/check.md says how each fault is found."),
    ]
    return page(CHECK_PAGE, f"{name}: rtsysid check", body)


def _tiles(checked: Checked) -> Node:
    grave = len(checked.grave)
    tiles = {
        "grave findings: a model of these recordings is wrong": str(grave),
        "other findings": str(len(checked.findings) - grave),
        "rows": f"{checked.rows:,}",
    }
    return el("dl", *(el("div", el("dt", text), el("dd", value)) for text, value in tiles.items()), class_="tiles")


def _findings(checked: Checked) -> Iterable[Node]:
    if not checked.findings:
        yield el("p", "Nothing was found.")
        return
    header = ["fault", "channels", "recording", "time s", "evidence", "what to do"]
    yield html_table(header, [_finding_row(each) for each in checked.findings])


def _finding_row(each: Finding) -> list[Node | str]:
    grade, sign = ("poor", SIGNS["poor"]) if each.grave else ("fair", SIGNS["fair"])
    fault = el("span", f"{sign} {each.fault}", class_=f"grade {grade}")
    time = "" if each.time_s is None else time_text(each.time_s)
    return [fault, ", ".join(each.channels), each.recording, time, each.evidence, el("b", each.remedy)]


def _inputs_table(checked: Checked) -> Iterable[Node]:
    """Describe how each input moves, and when it acts."""
    header = ["input", "spread", "changes in", "held for", "power in Hz", "told by outputs", "acts after", "95 %"]
    late = {each.input: each for each in checked.delays}
    rows: list[list[Node | str]] = []
    for each in checked.inputs:
        band = f"{each.band_hz[0]:.3g} to {each.band_hz[1]:.3g}" if each.spread else "-"
        found = late.get(each.input)
        known = (
            [f"{found.ticks} ticks", f"{found.low} to {found.high}"] if found and found.found else ["-", "not known"]
        )
        held = f"{each.held_rows:g} rows"
        rows.append(
            [
                each.input,
                f"{each.spread:.4g}",
                f"{each.changing:.0%} of rows",
                held,
                band,
                f"{each.from_outputs:.0%}",
                *known,
            ]
        )
    yield html_table(header, rows)


def _list(heading: str, lines: Iterable[str]) -> Node:
    return el("section", el("h2", heading), el("ul", *(el("li", line) for line in lines)))
