"""The options that name an output: each is judged before its command begins, so that no work is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from rtsysid.cli.options import NamedPath
from rtsysid.storage import require_output
from rtsysid.storage.products import Product

OVERWRITE = "Replace an existing file that rtsysid did not write; never an input, never a folder."


class OutputPath(NamedPath):
    """The type of an option that names an output, with the product that is written there."""

    def __init__(self, product: Product) -> None:
        super().__init__(path_type=Path)
        self.product = product


def output(*names: str, product: Product, **attributes: Any) -> Callable[[Callable[..., Any]], click.decorators.FC]:
    """Add an option for an output, and --overwrite where files may be replaced.

    Before the command runs, the output is checked against every path among the arguments and options.
    """
    key = max(names, key=len).removeprefix("--")

    def decorate(command: Callable[..., Any]) -> Any:
        @wraps(command)
        def checked(*args: Any, **values: Any) -> Any:
            if values[key] is not None:
                inputs = _inputs(click.get_current_context())
                require_output(values[key], product, inputs, values.get("overwrite", False))
            return command(*args, **values)

        if product.form in ("file", "folder"):
            checked = click.option("--overwrite", is_flag=True, help=OVERWRITE)(checked)
        return click.option(*names, type=OutputPath(product), **attributes)(checked)

    return decorate


def _inputs(context: click.Context) -> list[Path]:
    """Return every path that a command was given, except its outputs."""
    found = []
    for param in context.command.params:
        value = context.params.get(param.name or "")
        if isinstance(param, click.Argument) or type(param.type) is NamedPath:
            given = value if isinstance(value, tuple) else (value,)
            found += [Path(each) for each in given if isinstance(each, str | os.PathLike)]
    return [path for path in found if os.path.lexists(path)]
