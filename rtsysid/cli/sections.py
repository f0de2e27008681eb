"""Group commands in sections of the help; accept the paths of ``*.csv``, and suggest a command for a typing error."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import click

from rtsysid.cli.options import NamedPath
from rtsysid.config import EMBEDDED


class Deferred(NamedTuple):
    """A command whose module is imported when the command is used: importing all of them takes time and memory."""

    module: str
    attribute: str

    @property
    def name(self) -> str:
        """The name of the command, by the rule of click: that of the function, without _command or _group."""
        return re.sub("_(command|group)$", "", self.attribute).replace("_", "-")

    def load(self) -> click.Command:
        """Import the module, and return the command."""
        found: click.Command = getattr(import_module(f"rtsysid.cli.{self.module}"), self.attribute)
        return found


class Lazy:
    """A module of commands that is not imported: its attributes are `Deferred`."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, attribute: str) -> Deferred:
        return Deferred(self._module, attribute)


class Sections(click.Group):
    """Show commands in sections, and give each option that is a repeatable path all the paths that follow it."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        self._loaded: dict[str, click.Command] = {}
        self._deferred: dict[str, Deferred] = {}
        self._texts: dict[str, str] = {}
        super().__init__(*args, **attributes)
        self.sections: dict[str, list[str]] = {}

    @property
    def commands(self) -> dict[str, click.Command]:
        """Every command by its name; imports all of them."""
        for name in list(self._deferred):
            self._load(name)
        return self._loaded

    @commands.setter
    def commands(self, given: Mapping[str, click.Command]) -> None:
        self._loaded = dict(given)

    def add_section(self, name: str, members: Mapping[Deferred, str]) -> None:
        """Add commands under a heading, each with a text of a few words."""
        self.sections[name] = [each.name for each in members]
        self._deferred |= {each.name: each for each in members}
        self._texts |= {each.name: text for each, text in members.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order of the sections."""
        listed = [name for names in self.sections.values() for name in names]
        return [*listed, *(name for name in sorted(self._loaded) if name not in listed)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name, imported now; None where there is none."""
        return self._load(cmd_name)

    def _load(self, name: str) -> click.Command | None:
        deferred = self._deferred.pop(name, None)
        if deferred is not None:
            self._loaded[name] = command = deferred.load()
            command.short_help = self._texts[name]
        return self._loaded.get(name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a list of commands for each section."""
        if not self.sections:
            return super().format_commands(ctx, formatter)
        width = max(len(name) for names in self.sections.values() for name in names)
        for section, names in self.sections.items():
            with formatter.section(section):
                rows = [(name.ljust(width), self._texts[name]) for name in names]
                formatter.write_dl(rows)
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, and rewrite its arguments; raises click.UsageError that names a similar command."""
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(known)}"
            raise click.UsageError(f"no command {args[0]!r}; {hint}", ctx)
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, rest if command is None or isinstance(command, click.Group) else spread(command, rest)


def spread(command: click.Command, args: Sequence[str]) -> list[str]:
    """Repeat an option before each path that follows it: ``--data a b`` becomes ``--data a --data b``.

    A shell makes such a list of ``--data runs/*.csv``. What the arguments of the command need stays an argument.
    """
    options = {name: param for param in command.params if isinstance(param, click.Option) for name in param.opts}
    rewritten: list[str] = []
    runs = list(_runs(options, args))
    given = sum(len(values) for option, values in runs if option is None)
    for option, values in runs:
        if not option:
            rewritten += values
            continue
        kept = _kept(command, values, given)
        given += len(values) - kept
        rewritten += [part for value in values[:kept] for part in (option, value)] + values[kept:]
    return rewritten


def _runs(options: dict[str, click.Option], args: Sequence[str]) -> Iterator[tuple[str | None, list[str]]]:
    """Cut arguments into a repeatable path option with what follows it, and everything else.

    Of everything else, arguments come one by one, and an option comes together with its value.
    """
    k = 0
    while k < len(args):
        known = options.get(args[k])
        k += 1
        if args[k - 1] == "--":
            yield None, list(args[k - 1 :])
            return
        if known is not None and known.multiple and isinstance(known.type, NamedPath):
            end = next((i for i in range(k, len(args)) if args[i].startswith("-") and args[i] != "-"), len(args))
            yield args[k - 1], list(args[k:end])
            k = end
        elif known is not None and not known.is_flag and not known.count:
            yield "", list(args[k - 1 : k + 1])
            k += 1
        else:
            yield ("" if args[k - 1].startswith("-") else None), [args[k - 1]]


def _kept(command: click.Command, values: Sequence[str], given: int) -> int:
    """Count the values that belong to the option; those after them are arguments of the command."""
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    first_config = next((i for i, value in enumerate(values) if i and _is_config(value)), None)
    if first_config is not None and any(param.nargs < 0 for param in arguments):
        return first_config
    needed = sum(max(1, param.nargs) for param in arguments if param.required)
    return max(1, len(values) - max(0, needed - given))


def _is_config(value: str) -> bool:
    return value.endswith(".toml") or value in EMBEDDED
