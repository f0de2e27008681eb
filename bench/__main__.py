"""Print every figure; `python -m bench latency` prints one."""

from __future__ import annotations

from importlib import import_module

import click

PARTS = (
    "latency", "c_model", "cortex", "replay", "recording", "training", "wire", "live", "novelty", "retrieval", "logs",
    "control", "service", "sources", "sweep",
)  # fmt: skip
MODULES = {"replay": "replaying"}  # of parts with another name


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("parts", metavar="[PART]...", type=click.Choice([*PARTS]), nargs=-1)
def bench(parts: tuple[str, ...]) -> None:
    """Print figures of speed, as ratios to a peer in the same run: all of them, or those of PART.

    PART is latency, c_model, cortex, replay, recording, training, wire, live, novelty, retrieval, logs,
    control, service, sources or sweep.
    """
    for name in parts or PARTS:
        print(f"\n## {name}\n")
        import_module(f"bench.{MODULES.get(name, name)}").main()


if __name__ == "__main__":
    bench(prog_name="python -m bench")
