"""What a shell completes after Tab: names of configurations, benchmarks and datasets, and keys of a configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click
import msgspec
from click.shell_completion import CompletionItem

from rtsysid.config import EMBEDDED, Config

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def config_names(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete an embedded configuration, or a file."""
    return [*_matching(EMBEDDED, begun), CompletionItem(begun, type="file")]


def setting_keys(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the key of ``KEY=VALUE``."""
    return _matching((f"{key}=" for key in keys_of(Config)), begun)


def benchmark_names(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the name of a benchmark."""
    from rtsysid.benchmarks import NAMES
    from rtsysid.cli import robots, study

    return _matching([*NAMES, robots.NAME, "autoencoders", *study.NAMES], begun)


def source_names(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the name of a public set of recordings."""
    from rtsysid.benchmarks.sources import sources

    return _matching(sources(), begun)


def target_names(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the last of the targets of an export."""
    before, comma, _ = begun.rpartition(",")
    targets = ("onnx", "c", "int8", "gradient", "casadi", "acados", "aarch64", "armv7")
    return _matching((f"{before}{comma}{each}" for each in targets), begun)


def keys_of(struct: type[msgspec.Struct], prefix: str = "") -> list[str]:
    """List the keys of a configuration with their tables, as ``train.stride``."""
    found: list[str] = []
    for field in msgspec.structs.fields(struct):
        inner: Any = field.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            found += keys_of(inner, f"{prefix}{field.encode_name}.")
        elif prefix:
            found.append(f"{prefix}{field.encode_name}")
    return found


def _matching(names: Iterable[str], begun: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(begun)]
