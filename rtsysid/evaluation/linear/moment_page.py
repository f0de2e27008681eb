"""Show the model at one moment as a linear system on an HTML page: Bode plots, gains, delays, poles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10
from typing import Any

from rtsysid.evaluation.report.html import figures, html_table, page
from rtsysid.evaluation.report.plot import Line, Plot
from rtsysid.evaluation.report.tree import Node, el
from rtsysid.storage.products import MOMENT_PAGE

STYLES = 8  # of lines on a page


def moment_page(name: str, found: Mapping[str, Any], rate_hz: float) -> str:
    """Return the text of the page of one moment: what `moment_content` returns, and `at` in s."""
    body = [
        el(
            "header",
            el("h1", name),
            el("p", f"{found['states']} states at {found['at']:g} s, {rate_hz:g} Hz.", class_="quiet"),
        ),
        el("section", el("h2", "Frequency response"), figures(bode_plots(found), _legend(found)), id="bode"),
        el("section", el("h2", "Gains"), el("p", _GAINS), _by_input(found, "gains", "{:.4g}"), id="gains"),
        el("section", el("h2", "Delays"), el("p", _DELAYS), _by_input(found, "rise_ticks", "{}"), id="delays"),
        el("section", el("h2", "Poles"), _poles(found["poles"]), id="poles"),
    ]
    return page(MOMENT_PAGE, f"{name}: rtsysid linearise", body)


def bode_plots(found: Mapping[str, Any]) -> list[Plot]:
    """Plot gain and phase of each output, one line for each input, over the logarithm of the frequency."""
    hz, plots = found["bode"]["hz"], []
    for k, output in enumerate(found["outputs"]):
        for name, unit, log in (("gain", "", True), ("phase_deg", ", degrees", False)):
            lines = [
                Line(each, _style(j), _logarithms(hz), [row[k][j] for row in found["bode"][name]])
                for j, each in enumerate(found["inputs"])
            ]
            title = f"{output}: {name.partition('_')[0]}{unit}"
            plots.append(Plot(title, "log10 of the frequency in Hz", f"{title} of each input", lines, log=log))
    return plots


_GAINS = "Change of each output one second after an input was raised by 1 and held, in units of the output."
_DELAYS = "Ticks until an output has moved by a tenth of its largest response to a pulse of one tick."


def _logarithms(values: Sequence[float]) -> list[float]:
    return [log10(value) for value in values]


def _style(k: int) -> str:
    return f"s{k % STYLES + 1}"


def _legend(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, _style(k)) for k, name in enumerate(found["inputs"])]


def _by_input(found: Mapping[str, Any], key: str, form: str) -> Node:
    """Build a table of outputs by inputs."""
    rows = [[name, *map(form.format, row)] for name, row in zip(found["outputs"], found[key], strict=True)]
    return html_table(["output", *found["inputs"]], rows)


def _poles(poles: Sequence[Mapping[str, Any]]) -> Node:
    rows = [
        [f"{p['size']:.4f}", f"{p['hz']:.3g}", "-" if p["seconds"] is None else f"{p['seconds']:.3g}"]
        for p in poles[:30]
    ]
    return html_table(["size", "Hz", "falls to 1/e in s"], rows)
