"""Write the model card of a bundle: what the model is, what it was trained on, and where it may be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rtsysid.guards.text import visible
from rtsysid.model.about import AboutModel
from rtsysid.spec import ModelSpec

_SOURCES = 50  # recordings that are named


def model_card(spec: ModelSpec, about: AboutModel, training: Mapping[str, Any], own: str = "") -> str:
    """Return the card as Markdown: name and note, the maker's own text, then what the training run knows.

    `training`: the field of that name in the manifest. `own`: text of the maker.
    """
    parts = [_card_head(about, own), _card_model(spec, training), _card_ranges(spec), _card_sources(training)]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _card_head(about: AboutModel, own: str) -> list[str]:
    title = " ".join(filter(None, (about.name, about.version))) or "Model of a robot"
    return [f"# {title}", *(["", about.note] if about.note else []), *(["", own.strip()] if own.strip() else [])]


def _card_model(spec: ModelSpec, training: Mapping[str, Any]) -> list[str]:
    loss = training["validation"]
    return [
        "## Model", "",
        f"* It predicts {spec.n_outputs} outputs one tick of {1e3 / spec.rate_hz:g} ms ahead, and any longer horizon.",
        f"* It sees the last {spec.taps} samples of {spec.width} channels; {spec.cell} of {spec.hidden} units, "
        f"{spec.macs} multiplications a step.",
        f"* Its specification has the fingerprint {spec.fingerprint}.",
        f"* It was trained for {training['epochs']} epochs"
        + ("." if loss is None else f"; the last validation loss is {loss:.4g}, and 1 is a linear model."),
    ]  # fmt: skip


def _card_ranges(spec: ModelSpec) -> list[str]:
    """Give the range of each channel in training: beyond it the model extrapolates."""
    rows = zip(spec.channels, spec.scaling.low, spec.scaling.high, strict=True)
    named = [
        f"| {_table_text(c.name)} | {_table_text(c.unit)} | {c.role} | {low:.5g} | {high:.5g} |"
        for c, low, high in rows
    ]
    head = ["| channel | unit | role | lowest | highest |", "|---|---|---|---|---|"]
    return ["## Trained range", "", "Outside these values the model extrapolates, and says so.", "", *head, *named]


def _card_sources(training: Mapping[str, Any]) -> list[str]:
    sources = training["sources"]
    more = [f"* and {len(sources) - _SOURCES} more"] if len(sources) > _SOURCES else []
    return ["## Training recordings", "", *_card_names(sources[:_SOURCES]), *more]


def _card_names(sources: Any) -> Iterator[str]:
    for name, digest in sources:
        yield f"* {_table_text(name)} (SHA-256 {digest[:12]})"


def _table_text(text: str) -> str:
    return visible(text).replace("|", "/")
