"""The commands that show a configuration, and that teach a shell to complete."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from rtsysid.cli import console
from rtsysid.cli.complete import config_names
from rtsysid.cli.options import as_json
from rtsysid.cli.sections import Sections
from rtsysid.errors import ConfigError

SHELLS = {"bash": "~/.bashrc", "zsh": "~/.zshrc", "fish": "~/.config/fish/config.fish"}


@click.group("config", cls=Sections)
def config_group() -> None:
    """Show configurations: those that come with the package, and those of runs and bundles.

    Example: rtsysid config show quadrotor
    """


@config_group.command("show")
@click.argument("name", required=False, shell_complete=config_names)
@as_json
def show_config(name: str | None, json_: bool) -> None:
    """Print the configuration NAME: an embedded one, a TOML file, or that of a run or a bundle.

    Without NAME, list the embedded ones. The text is a file that `rtsysid train` takes.

    Example: rtsysid config show quadrotor > mine.toml
    """
    from rtsysid.config import EMBEDDED, parse_config

    if name is None:
        lines = {each: _first_comment(_text_of(each)) for each in EMBEDDED}
        return console.report(lines, json_)
    text = _text_of(name)
    parsed = parse_config(text, name)
    if json_:
        return console.report(msgspec.to_builtins(parsed), True)
    return console.block(text.rstrip("\n"))


def _text_of(name: str) -> str:
    """Return the text of a configuration. Raises ConfigError where there is none of this name."""
    from rtsysid.config import EMBEDDED, config_text

    path = Path(name)
    if name not in EMBEDDED and (path / "manifest.json").exists():
        from rtsysid.model.bundle import Bundle
        from rtsysid.train.config_text import toml_text

        return toml_text(Bundle.open(path).manifest.training.config)
    if name not in EMBEDDED and (path / "run.json").exists():
        whole = path / "completed.toml"
        return config_text(whole if whole.exists() else path / "config.toml")
    if name not in EMBEDDED and not path.exists():
        raise ConfigError(f"configuration {name}", "no such file", f"name a file, or one of {', '.join(EMBEDDED)}")
    return config_text(name)


def _first_comment(text: str) -> str:
    lines = (line.lstrip("# ") for line in text.split("\n") if line.startswith("#"))
    return next(lines, "")


@click.command()
@click.argument("shell", type=click.Choice([*SHELLS]))
@as_json
def completion(shell: str, json_: bool) -> None:
    """Print the script that lets a shell complete commands, options, files, names and keys.

    bash and zsh take it with this line in ~/.bashrc or ~/.zshrc: eval "$(rtsysid completion bash)". fish takes
    rtsysid completion fish | source.

    Example: rtsysid completion bash
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    root = click.get_current_context().find_root().command
    script = found(root, {}, "rtsysid", "_RTSYSID_COMPLETE").source()
    if json_:
        return console.report({"shell": shell, "file": SHELLS[shell], "script": script}, True)
    return console.block(script)
