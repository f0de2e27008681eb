"""Recognise what lies at a path, so that an error can say what was given in place of what was asked for."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

MARKERS = {"manifest.json": "bundle", "run.json": "run", "index.json": "index", "sweep.json": "sweep"}
_PATTERN = re.compile(r"[*?\[]")
_REMEDIES = {  # by what was asked for and what was found; {path} and {parent} are those of the path
    ("bundle", "run"): "export it first: rtsysid export {path} -o BUNDLE",
    ("bundle", "configuration"): "train it first: rtsysid train {path} --data LOGS -o RUN",
    ("bundle", "file"): "the bundle comes first, then recordings; after --like and --bundle it stands alone",
    ("bundle", "folder"): "give a folder made by rtsysid export; the bundle comes first, then recordings",
    ("bundle", ""): "make one: rtsysid export RUN -o BUNDLE",
    ("run", "bundle"): "it is exported already; name the run that it was made of",
    ("run", "configuration"): "train it first: rtsysid train {path} --data LOGS -o RUN",
    ("run", ""): "train one: rtsysid train CONFIG --data LOGS -o RUN",
    ("model", "configuration"): "train it first: rtsysid train {path} --data LOGS -o RUN",
    ("model", "file"): "the run or the bundle comes first, recordings after --data",
    ("configuration", "run"): "give its file: {path}/config.toml",
    ("configuration", "bundle"): "write one: rtsysid config show {path} > CONFIG.toml",
    ("configuration", "file"): "the configuration comes first, recordings after --data",
    ("configuration", "folder"): "the configuration comes first, recordings after --data",
    ("recording", "configuration"): "give recordings here; the configuration is an argument of its own",
    ("recording", "run"): "give recordings, such as a .csv file",
    ("recording", "bundle"): "give recordings, such as a .csv file; a bundle is an argument of its own",
    ("index", "file"): "the index comes first, then the recording",
    ("index", "folder"): "give a folder made by rtsysid index; the index comes first, then the recording",
    ("index", ""): "make one: rtsysid index LOGS -o INDEX",
}
_OTHERWISE = {
    "bundle": "give a folder made by rtsysid export",
    "run": "give a folder made by rtsysid train",
    "model": "give a folder that rtsysid train or rtsysid export has written",
    "configuration": "give a TOML file, or the name of an embedded one: rtsysid config show",
    "recording": "give recordings, such as a .csv file",
    "index": "give a folder made by rtsysid index",
}


def kind_of(path: Path) -> str:
    """Name what lies at a path: bundle, run, index, sweep, configuration, folder or file; "" where nothing is."""
    if os.path.isdir(path):  # not Path.is_dir, which raises for a name that is too long
        return next((kind for name, kind in MARKERS.items() if os.path.exists(path / name)), "folder")
    if not os.path.exists(path):
        return ""
    return "configuration" if path.suffix.lower() == ".toml" else "file"


def mistaken(path: Path, wanted: str) -> tuple[str, str]:
    """Say what was found at a path where something else was asked for, and what to do.

    `wanted`: bundle, run, model (either of the two), configuration, recording or index.
    """
    kind, owner = kind_of(path), kind_of(path.parent)
    if not kind and _PATTERN.search(path.name):
        return "no file matches this pattern", "check the folder and the pattern"
    article = "neither a run nor a bundle" if wanted == "model" else f"not {_with_article(wanted)}"
    found = f"{_with_article(kind)}, {article}" if kind else "no such file or folder"
    if not kind and (close := difflib.get_close_matches(path.name, _names_next_to(path), 1, 0.8)):
        return found, f"did you mean {path.parent / close[0]}?"
    if kind in ("file", "configuration") and owner in (wanted, *(("run", "bundle") if wanted == "model" else ())):
        return f"a file of {_with_article(owner)}", f"give its folder: {path.parent}"
    remedy = _REMEDIES.get((wanted, kind), _OTHERWISE[wanted] if kind else f"check the path; {_OTHERWISE[wanted]}")
    return found, remedy.format(path=path, parent=path.parent)


def _names_next_to(path: Path) -> list[str]:
    try:
        return sorted(os.listdir(path.parent))
    except OSError:
        return []


def _with_article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
