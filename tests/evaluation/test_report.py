"""Test the report: its findings, its escaping, and that a browser shows it without any request."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.robots import make_spec, plant
from support.shell import command, refused_here

from rtsysid.errors import TraceError
from rtsysid.evaluation.horizon import Evaluation
from rtsysid.evaluation.report.advice import RULES
from rtsysid.evaluation.report.causes import Cause
from rtsysid.evaluation.report.content import SECTIONS, report_page
from rtsysid.evaluation.report.judge import (
    Forecasts,
    Judgement,
    OutputFit,
    interval_coverage,
    judge,
    quantity_fits,
    worst_forecasts,
)
from rtsysid.evaluation.report.judged import JudgedModel
from rtsysid.evaluation.report.metric_values import baseline_ratios, metric_values, significant
from rtsysid.evaluation.report.observed import observe
from rtsysid.evaluation.report.plot import Axis, Line, Plot, _log_range, draw
from rtsysid.evaluation.report.tree import el, html
from rtsysid.model.bundle import Bundle
from rtsysid.model.intervals import Intervals
from rtsysid.recordings.trace import Episode, Trace

VOID = {"meta", "br", "img", "hr", "input", "link"}
HOSTILE = "<script>alert('x')</script>&\"y"


class Reader(HTMLParser):
    """Every tag must close in order; keeps tags, attributes and text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def report_file(bundle_folder: Path, recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the tiny bundle, made by the command."""
    out = tmp_path_factory.mktemp("report") / "report.html"
    command("report", bundle_folder, "--data", recording, "-o", out, "--horizon", 20)
    return out


def test_the_page_is_whole_and_needs_nothing_else(report_file: Path) -> None:
    """Tags close in order, every section and its advice is there, and no attribute or style points outside the page."""
    text = report_file.read_text()
    reader = read(text)
    anchors = {attributes.get("id") for tag, attributes in reader.tags if tag == "section"}
    assert anchors == {"summary", "timeline", "response", "coverage", "intervals", *SECTIONS.values()}
    for _, attributes in reader.tags:
        assert attributes.get("href", "#").startswith("#")  # type: ignore[union-attr]
        assert "src" not in attributes
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text
    charts = [attributes for tag, attributes in reader.tags if "data-chart" in attributes]
    assert len(charts) > 10
    assert all(attributes["aria-label"] and attributes["tabindex"] == "0" for attributes in charts)


def test_every_script_of_the_page_is_named_by_its_hash(report_file: Path) -> None:
    """The policy lists the hash of each script that runs and nothing else: no other script could run."""
    text = report_file.read_text()
    hashes = re.findall(r"'sha256-([^']+)'", text[: text.index("</head>")])
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts] == hashes
    assert "unsafe" not in re.findall(r"script-src [^;\"]*", text)[0]


CHROMIUM = shutil.which("chromium") or ""
in_browser = pytest.mark.skipif(not CHROMIUM, reason="wants chromium")


@in_browser
def test_a_browser_shows_it_in_silence(report_file: Path, tmp_path: Path) -> None:
    """Chromium builds the page with no line on its console, and the page asks for nothing."""
    dom, console, requested = browse(report_file, tmp_path)
    assert "Error over the horizon" in dom
    assert console == []
    assert requested == []


@in_browser
def test_a_page_that_asks_for_more_would_be_noticed(report_file: Path, tmp_path: Path) -> None:
    """A picture from elsewhere makes the page's policy complain on the console; without the policy it is asked for."""
    address, bad = "http://example.invalid/x.png", tmp_path / "bad.html"
    text = report_file.read_text().replace("<body>", f'<body><img src="{address}">')
    bad.write_text(text)
    _, console, requested = browse(bad, tmp_path)
    assert len(console) == 1
    assert requested == []
    bad.write_text("\n".join(line for line in text.splitlines() if "Content-Security-Policy" not in line))
    assert browse(bad, tmp_path)[2] == [address]


def browse(file: Path, scratch: Path) -> tuple[str, list[str], list[str]]:
    """The page as the browser built it, what its console said, and every address that the page asked for.

    Names resolve to nothing, so that no request leaves the machine; the browser's own have no page as their initiator.
    """
    log = scratch / "net.json"
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", f"--log-net-log={log}",
        f"--user-data-dir={scratch / 'profile'}", "--dump-dom",
    ]  # fmt: skip
    done = subprocess.run([CHROMIUM, *flags, file.as_uri()], capture_output=True, text=True, timeout=600, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    asked = {p["url"] for p in events if "url" in p and p.get("initiator", "not an origin") != "not an origin"}
    return done.stdout, console, sorted(asked)


def judged(bundle: Bundle, trace: Trace, recordings: str = "all") -> Judgement:
    every, evaluation = observe(bundle, trace, 20, 9)
    return judge(bundle, every, recordings, evaluation, 9)


def renamed(bundle: Bundle, trace: Trace, name: str) -> JudgedModel:
    """The same model and recordings, with channels, units, groups, recordings and causes that are called `name`."""
    spec, replace = bundle.spec, msgspec.structs.replace
    channels = tuple(
        replace(c, name=f"{name}{i}", unit=name, group="" if c.role == "input" else name + c.group)
        for i, c in enumerate(spec.channels)
    )
    arrays = {file: digest for file, digest in bundle.manifest.files.items() if file.endswith(".npz")}
    own = {"spec": replace(spec, channels=channels), "versions": {name: name}, "files": arrays}  # its C is of the names
    manifest = replace(bundle.manifest, **own)
    new = Bundle(bundle.folder, manifest, {file: bundle.content(file) for file in arrays})
    episodes = tuple(dataclasses.replace(e, name=f"{name} {k}") for k, e in enumerate(trace.episodes[:2]))
    judgement = judged(new, Trace(channels, episodes), name)
    cause = Cause(name, (name,), (name,), 0.5, 0.5, name, name)
    verdict = replace(judgement.verdict, sentence=name)
    history = [{"index": i, "stage": name, "train": 1.0, "validation": 1.0 / (i + 1)} for i in range(5)]
    return JudgedModel(name, new, dataclasses.replace(judgement, causes=[cause], verdict=verdict), history)


def test_names_of_channels_and_files_are_escaped(bundle_folder: Path, tiny_trace: Trace) -> None:
    """Channels, units, groups, recordings and models called like markup arrive as text, and add not one element."""
    bundle = Bundle.open(bundle_folder)
    pages = [read(report_page([renamed(bundle, tiny_trace, name)])) for name in ("plain", HOSTILE)]
    assert [tag for tag, _ in pages[1].tags] == [tag for tag, _ in pages[0].tags]
    markup = "".join(pages[1].texts)
    assert markup.count("<script>alert") > 50
    assert "\\u003cscript>alert" in markup  # in the data of the charts, which end at the first end of a script


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp"])))
def test_any_text_comes_back_from_the_tree(text: str) -> None:
    """A parser reads back any text of an element or attribute that can be seen."""
    reader = read(html([el("p", text, el("b", "x"), text, aria_label=text)]))
    assert reader.tags[0] == ("p", {"aria-label": text})
    assert "".join(reader.texts) == f"{text}x{text}"


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=30), st.booleans())
def test_a_plot_of_anything_stays_on_the_paper(values: list[float], log: bool) -> None:
    """Values that are missing, infinite, zero or all alike give a drawing whose numbers are finite and inside."""
    plot = Plot("y [m]", "x", "test", [Line("y", "model", list(range(len(values))), values)], log=log)
    path = next(node for node in draw(plot).iter("path"))
    numbers = [float(n) for n in re.findall(r"-?[\d.]+|nan|inf", path.attrib["d"])]
    assert all(-1 <= n <= 361 or log for n in numbers)
    assert all(math.isfinite(n) for n in numbers)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.booleans())
def test_ticks_are_few_and_in_range(low: float, spread: float, log: bool) -> None:
    """Any range gets up to eight labelled ticks within it, and no label twice."""
    high = low + max(spread, abs(low) / 100)
    axis = Axis(*_log_range([10.0 ** (low / 1e6), 10.0 ** (high / 1e6)]), 0, 1, True) if log else Axis(low, high, 0, 1)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 8
    slack = 1e-6 * (axis.high - axis.low)
    assert all(axis.low - slack <= value <= axis.high + slack for value, _ in ticks)
    assert len({label for _, label in ticks}) == len(ticks)


def test_a_logarithmic_axis_has_labels_within_a_decade() -> None:
    """An axis of one decade is labelled at 1, 2, 5 and 10; one of five decades at each power."""
    assert [value for value, _ in Axis(0.1, 1.0, 0, 1, True).ticks()] == pytest.approx([1.0, 0.5, 0.2, 0.1])
    assert len(Axis(1e-5, 1.0, 0, 1, True).ticks()) == 6


def forecasts(bad: dict[int, float], starts: int = 60, horizon: int = 10) -> Forecasts:
    """Errors of 1 everywhere, but as large as `bad` says at some starts."""
    episode = Episode("log", np.arange(200) / 100, np.zeros((200, 5), np.float32))
    truth = np.zeros((starts, horizon, 3))
    predicted = np.ones_like(truth)
    for start, error in bad.items():
        predicted[start] = error
    return Forecasts([(episode, k + 20) for k in range(starts)], predicted, truth)


def test_the_worst_forecasts_do_not_overlap() -> None:
    """Of neighbouring bad forecasts only the worst is taken; the next one is elsewhere, even if much better."""
    found = worst_forecasts(make_spec(), forecasts({10: 9.0, 11: 8.0, 12: 7.0, 40: 3.0}))
    assert [round(s.start_s * 100) - 20 for s in found][:2] == [10, 40]
    assert found[0].times == pytest.approx(9.0)
    assert found[0].groups == {name: pytest.approx(9.0) for name in ("y0", "y1", "y2")}
    assert len(found[0].predicted["y0"]) == 11
    assert len(found[0].measured["y0"]) == len(found[0].t) == found[0].n_before + 11


def test_a_forecast_beyond_the_range_of_training_names_its_channels() -> None:
    """A channel that leaves low .. high in the rows of the forecast is named; others are not."""
    made = forecasts({10: 9.0})
    made.starts[0][0].values[35, 1] = 4.5
    assert worst_forecasts(make_spec(), made)[0].outside == ["u1"]


def test_a_forecast_that_diverges_is_the_worst() -> None:
    """Infinity ranks first and leaves the others comparable."""
    found = worst_forecasts(make_spec(), forecasts({5: np.inf, 40: 3.0}))
    assert [s.times for s in found[:2]] == [np.inf, pytest.approx(3.0)]


def test_fits_of_known_predictions() -> None:
    """A perfect step fits 100 %, the mean as forecast fits 0, an offset is bias, a diverged forecast fits nothing."""
    rng = np.random.default_rng(0)
    measured = rng.standard_normal((500, 3))
    noise = 0.1 * rng.standard_normal((500, 3)) * [0, 1, 1] + [0, 0, 0.3]
    truth = rng.standard_normal((200, 3))
    near = measured - noise, measured
    fits = quantity_fits(make_spec(), near, (np.broadcast_to(truth.mean(0), truth.shape), truth))
    assert fits[0].fit_percent == 100.0
    assert fits[1].nrmse == pytest.approx(0.1, rel=0.1)
    assert fits[2].bias == pytest.approx(3.0, rel=0.1)
    assert fits[0].free_fit_percent == pytest.approx(0.0, abs=1e-9)
    diverged = quantity_fits(make_spec(), near, (np.full(truth.shape, np.inf), truth))
    assert diverged[0].free_nrmse == np.inf


def test_chance_correlations_are_not_a_finding() -> None:
    """About three of 300 random sets give a false finding; one true correlation among a hundred is detected."""
    r = np.random.default_rng(0).standard_normal((300, 25, 4)) / 100
    bounds = np.full(4, 2.5758 / 100)
    assert sum(significant(each, bounds) > 0 for each in r) <= 9
    r[0, 3, 2] = -0.06
    assert significant(r[0], bounds) == pytest.approx(0.06)


def test_a_model_is_measured_by_the_better_baseline() -> None:
    """The ratio uses the smaller baseline error at that tick; against an exact baseline it is 1 or infinite."""
    errors = {"model": {"g": [1.0, 0.0]}, "hold": {"g": [4.0, 0.0]}, "linear ARX": {"g": [2.0, float("inf")]}}
    evaluation = Evaluation(2, 50.0, 1, {"g": "m"}, errors)
    assert baseline_ratios(evaluation, 1) == {"g": 0.5}
    assert baseline_ratios(evaluation, 2) == {"g": 1.0}


def test_every_metric_with_advice_is_measured(bundle_folder: Path, tiny_trace: Trace) -> None:
    """A judgement and a history give each metric of the table, but of known and unknown range maybe one alone."""
    bundle = Bundle.open(bundle_folder)
    judgement = judged(bundle, tiny_trace)
    history = [{"index": i, "stage": "a", "validation": 1.0 - i / 10} for i in range(5)]
    found = metric_values(judgement, history)
    assert set(RULES) - set(found) <= {"worst forecast, range known", "worst forecast, beyond the range"}
    assert found["training"] == {"stage a": pytest.approx(1 / 7)}
    assert set(SECTIONS) == set(RULES)


def test_bad_input_gets_one_line(bundle_folder: Path, recording: Path, tmp_path: Path) -> None:
    """No recordings, no model, a horizon that fits nowhere and a place that cannot be written: one line each."""
    out = tmp_path / "r.html"
    assert "give --data" in refused_here("report", bundle_folder, "-o", out, code=1)
    assert "neither a run nor a bundle" in refused_here("report", tmp_path, "--data", recording, "-o", out, code=1)
    assert "shorter --horizon" in refused_here(
        "report", bundle_folder, "--data", recording, "-o", out, "--horizon", 5000, code=1
    )
    assert "horizon" in refused_here("report", bundle_folder, "--data", recording, "-o", out, "--horizon", 0, code=1)
    assert "no such" in refused_here("report", bundle_folder, "--data", tmp_path / "no.csv", "-o", out, code=1).lower()
    assert not out.exists()
    out.mkdir()
    assert "it is a folder" in refused_here("report", bundle_folder, "--data", recording, "-o", out, code=5)


def test_forecasts_are_shown_in_their_intervals(calibrated_folder: Path, recording: Path, tmp_path: Path) -> None:
    """Of a calibrated bundle the page shades 90 % around each forecast, and says how much of it held."""
    out = tmp_path / "report.html"
    command("report", calibrated_folder, "--data", recording, "-o", out, "--horizon", 20)
    text = out.read_text()
    charts = json.loads(re.findall(r'id="charts">(.*?)</script>', text, re.DOTALL)[0])
    shaded = [
        chart for chart in charts if chart["bands"] and any("interval" in each["name"] for each in chart["series"])
    ]
    assert len(shaded) == 2 + 3 * 2  # the whole recording, and the worst forecasts, with two outputs each
    assert "inside the intervals" in text
    assert "not calibrated" not in text


def test_two_models_are_on_one_page(
    bundle_folder: Path, calibrated_folder: Path, recording: Path, tmp_path: Path
) -> None:
    """Each model gets its verdict, and a line of its own in the charts of errors; JSON has the verdicts of both."""
    out = tmp_path / "r.html"
    options = ("--data", recording, "-o", out, "--horizon", 20, "--json")
    found = json.loads(command("report", bundle_folder, calibrated_folder, *options).stdout)
    names = [bundle_folder.name, calibrated_folder.name]
    assert [each["model"] for each in found["verdicts"]] == names
    text = out.read_text()
    assert all(f"Verdict on {name}" in text for name in names)
    charts = json.loads(re.findall(r'id="charts">(.*?)</script>', text, re.DOTALL)[0])
    errors = [[each["name"] for each in chart["series"]] for chart in charts if chart["title"] == "v error [m/s]"]
    assert errors[0][:2] == names


def test_times_are_seconds_from_the_start_of_a_recording(bundle_folder: Path, tiny_trace: Trace) -> None:
    """Recordings whose clock counts from 1970 are judged at seconds from their start."""
    bundle = Bundle.open(bundle_folder)
    late = tuple(dataclasses.replace(e, t=e.t + 1.7e9) for e in tiny_trace.episodes)
    judgement = judged(bundle, dataclasses.replace(tiny_trace, episodes=late))
    assert all(0 <= each.start_s < 10 and max(each.t) < 10 for each in judgement.worst)
    assert all(o.seconds[0] == 0 for o in judgement.every)


def test_the_median_of_two_fits_is_between_them(bundle_folder: Path, tiny_trace: Trace) -> None:
    """Of outputs with fits of 93.4 and 10.2 % the page says 52 %, not the upper one."""
    bundle = Bundle.open(bundle_folder)
    fits = [OutputFit(name, "m", 0.1, 90.0, 0.1, fit, 0.0) for name, fit in (("y", 93.4), ("v", 10.2))]
    page = report_page([JudgedModel("m", bundle, dataclasses.replace(judged(bundle, tiny_trace), fits=fits))])
    texts = read(page).texts
    assert texts[texts.index("median fit of 2 outputs, 0.4 s ahead") + 1].strip() == "52 %"


def test_a_count_of_won_comparisons_never_stands_alone(report_file: Path) -> None:
    """Next to the count the page says where the model lost, and that the count is no verdict."""
    text = " ".join(read(report_file.read_text()).texts)
    assert re.search(r"in \d+ of \d+ comparisons[^.]*\. To beat a baseline is not to be good", text)


def test_coverage_counts_what_lies_inside(calibrated_folder: Path) -> None:
    """Exact forecasts are covered fully, forecasts with large errors not at all, over the horizon of the intervals."""
    bundle = Bundle.open(calibrated_folder)
    intervals = Intervals.of(bundle)
    assert intervals is not None
    truth = np.zeros((7, intervals.horizon + 5, 2))
    exact = interval_coverage(bundle.spec, Forecasts([], truth, truth), intervals)
    off = interval_coverage(bundle.spec, Forecasts([], truth + 1e9, truth), intervals)
    assert [each.stated for each in exact] == [0.5, 0.8, 0.9, 0.95]
    assert {share for each in exact for share in each.measured.values()} == {1.0}
    assert {share for each in off for share in each.measured.values()} == {0.0}


def observed_with(bundle: Bundle, trace: Trace, horizon: int) -> tuple[Any, ...]:
    every, evaluation = observe(bundle, trace, horizon, 1)
    return every, "short", evaluation, 1


def test_too_few_rows_for_the_residual_tests(bundle_folder: Path) -> None:
    """A recording with room for one forecast but fewer than 25 residuals is refused in one line."""
    bundle, trace = Bundle.open(bundle_folder), plant(1, 25)
    trace = Trace(bundle.spec.channels, trace.episodes)
    with pytest.raises(TraceError, match="residual tests"):
        judge(bundle, *observed_with(bundle, trace, 5))
