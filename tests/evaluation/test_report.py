"""Test the report: its findings, its escaping, and that a browser shows it without any request."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.judged import judged
from support.shell import command, refused_here

from rtsysid.evaluation.report.causes import Cause
from rtsysid.evaluation.report.content import SECTIONS, report_page
from rtsysid.evaluation.report.judge import (
    OutputFit,
)
from rtsysid.evaluation.report.judged import JudgedModel
from rtsysid.evaluation.report.tree import el, html
from rtsysid.model.bundle import Bundle
from rtsysid.recordings.trace import Trace

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
