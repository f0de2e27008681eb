"""The command that describes a recording, a run, a bundle, an index or a board."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rtsysid.cli import console, link, recording
from rtsysid.cli.calibrate import calibration_summary
from rtsysid.cli.options import as_json
from rtsysid.errors import TraceError


@click.command()
@click.argument("what", metavar="PATH|PORT")
@as_json
def info(what: str, json_: bool) -> None:
    """Describe a recording, a run, a bundle, an index, or the board at a port.

    Example: rtsysid info flight.csv
    """
    path = Path(what)
    if not what:
        raise TraceError("path", "it is empty", "name a recording, a run, a bundle, an index or a port")
    if link.is_port(what):
        return console.report(link.describe_port(what), json_)
    if (path / "manifest.json").exists():
        return console.report(_bundle_info(path), json_)
    if (path / "index.json").exists():
        from rtsysid.retrieval.index import summary

        return console.report(summary(path), json_)
    if (path / "run.json").exists():
        from rtsysid.train.run import Run

        run = Run(path)
        fields = {"complete": run.complete, "epochs": len(run.history()), "fingerprint": run.spec.fingerprint}
        return console.report({"run": str(path), **fields, "sources": len(run.about["sources"])}, json_)
    from rtsysid.recordings.trace import Trace

    bag = path.suffix.lower() == ".mcap"
    if bag and recording.show_bag(path, json_):
        return None
    described = {**Trace.read(path).describe(), **(recording.recording_facts(path) if bag else {})}
    if json_:
        return console.report(described, json_)
    console.report({k: v for k, v in described.items() if not isinstance(v, list)}, json_)
    keys = [key for key in described["channels"][0] if key != "role"]
    console.block(console.table(keys, [[console.text(row[key]) for key in keys] for row in described["channels"]]))


def _bundle_info(path: Path) -> dict[str, Any]:
    from rtsysid.model.bundle import Bundle

    bundle = Bundle.open(path)
    spec = bundle.spec
    return {
        "bundle": str(path), "id": bundle.id, "fingerprint": spec.fingerprint, "schema_hash": spec.schema_hash,
        "variant": spec.variant, "cell": spec.cell, "rate_hz": spec.rate_hz, "feedthrough": bundle.feedthrough,
        "taps": spec.taps,
        "encoder": list(spec.encoder), "hidden": spec.hidden, "multiply_accumulates": spec.macs,
        "inputs": ", ".join(map(str, spec.inputs)), "outputs": ", ".join(map(str, spec.outputs)),
        **calibration_summary(bundle), "files": list(bundle.manifest.files),
    }  # fmt: skip
