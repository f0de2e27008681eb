"""Build every firmware image into out/firmware and print its size: `python -m bench.images [BUNDLE]`.

Without a bundle the model is of reference size with random weights.
"""

from __future__ import annotations

from pathlib import Path

from bench import arguments
from bench.reference import reference_spec
from export import firmware
from export.step_cost import random_model
from firmware_bridge.board import channel_header
from firmware_bridge.emulator import MACHINES
from firmware_bridge.schema import Schema
from rtsysid.cli.console import table
from rtsysid.model.bundle import Bundle

KINDS: tuple[firmware.Kind, ...] = ("replay", "app")
OUT = Path("out/firmware")
FLASH, RAM = 1_048_576, 131_072  # bytes of an STM32F405RG


def main(path: str | None = None) -> None:
    if path is None:
        spec, called = reference_spec(), 1
        files = {**random_model(spec), "channels.h": channel_header(Schema.of(spec.channels, spec.rate_hz))}
    else:
        bundle = Bundle.open(path)
        files, called = firmware.model_files(bundle), firmware.model_hash(bundle)
    OUT.mkdir(parents=True, exist_ok=True)
    rows = []
    for port in MACHINES:
        for kind in KINDS:
            path = OUT / f"{kind}-{port}.elf"
            image = firmware.build_image(kind, files, path, port=port, model_hash=called, overwrite=True)
            shares = f"{image.flash / FLASH:.1%}", f"{image.ram / RAM:.1%}"
            rows.append([str(image.path), f"{image.flash:,}", shares[0], f"{image.ram:,}", shares[1]])
    print(table(["image", "flash B", "of 1 MiB", "RAM B", "of 128 KiB"], rows))


if __name__ == "__main__":
    main(*arguments(__doc__)[:1])
