"""Print every figure; `python -m bench latency` prints one."""

from __future__ import annotations

import click

from bench import c_model, cortex, latency, live, novelty, recording, replaying, retrieval, training, wire

PARTS = {
    "latency": latency.main, "c_model": c_model.main, "cortex": cortex.main, "replay": replaying.main,
    "recording": recording.main, "training": training.main, "wire": wire.main, "live": live.main,
    "novelty": novelty.main, "retrieval": retrieval.main,
}  # fmt: skip


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("parts", metavar="[PART]...", type=click.Choice([*PARTS]), nargs=-1)
def bench(parts: tuple[str, ...]) -> None:
    """Print figures of speed, as ratios to a peer in the same run: all of them, or those of PART.

    PART is latency, c_model, cortex, replay, recording, training, wire, live, novelty or retrieval.
    """
    for name in parts or PARTS:
        print(f"\n## {name}\n")
        PARTS[name]()


if __name__ == "__main__":
    bench(prog_name="python -m bench")
