"""The commands that say whose bundles are trusted: their C libraries are code, and run unasked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rtsysid.cli import console
from rtsysid.cli.options import PATH, as_json, verbosity
from rtsysid.errors import BundleError, StorageError

_REMEDY = "give it to this user alone (chmod 700), or set XDG_DATA_HOME"


@click.group("trust")
@verbosity
def trust_group() -> None:
    """Say whose bundles are trusted: the C library of a trusted maker is loaded without being asked for.

    Example: rtsysid trust add robot-lab.key
    """


@trust_group.command("key")
@as_json
def key_command(json_: bool) -> None:
    """Print the public key that signs your exports; it is made where there is none.

    Example: rtsysid trust key > robot-lab.key
    """
    from rtsysid.model.trust import own_public_key

    try:
        key = own_public_key(make=True)
    except OSError as error:
        raise StorageError("signing key", error.strerror or str(error), _REMEDY) from None
    console.report({"key": key}, True) if json_ else console.echo(str(key))


@trust_group.command("add")
@click.argument("key", metavar="KEY|FILE")
@click.option("--name", default="", help="Whose key it is.")
@as_json
def add_command(key: str, name: str, json_: bool) -> None:
    """Trust the maker with this public key, from now on and for all bundles that it signs.

    Example: rtsysid trust add robot-lab.key --name "robot lab"
    """
    from rtsysid.model import keys

    found, named = keys.read_key(key)
    known = keys.trusted_keys()
    _store({**known, found: keys.plain_name(name) or named or known.get(found, "")})
    console.report({"trusted": found, "keys": len({*known, found})}, json_)


@trust_group.command("remove")
@click.argument("key", metavar="KEY|NAME")
@as_json
def remove_command(key: str, json_: bool) -> None:
    """Trust a maker no longer, by its key or its name.

    Example: rtsysid trust remove "robot lab"
    """
    from rtsysid.model import keys

    known = keys.trusted_keys()
    kept = {each: name for each, name in known.items() if key not in (each, name)}
    if len(kept) == len(known):
        raise BundleError(f"key {key}", f"it is none of {len(known)} trusted keys", "see rtsysid trust list")
    _store(kept)
    console.report({"removed": len(known) - len(kept), "keys": len(kept)}, json_)


@trust_group.command("list")
@as_json
def list_command(json_: bool) -> None:
    """Print the keys that are trusted, your own first.

    Example: rtsysid trust list
    """
    from rtsysid.model import keys, trust

    own = trust.own_public_key()
    rows = [*([(own, "this user")] if own else []), *keys.trusted_keys().items()]
    if json_:
        return console.report({"keys": [{"key": key, "name": name} for key, name in rows]}, True)
    console.block(console.table(["key", "name"], [[key, name or "-"] for key, name in rows]))


@trust_group.command("sign")
@click.argument("bundle", type=PATH)
@as_json
def sign_command(bundle: Path, json_: bool) -> None:
    """Sign a bundle with your key, which makes you its maker: its C library then runs on every machine that trusts you.

    Example: rtsysid trust sign bundle
    """
    from rtsysid.model.bundle import Bundle

    maker = Bundle.open(bundle).signed().maker
    if not maker.name:
        raise BundleError(f"bundle {bundle}", maker.reason, _REMEDY)
    console.report({"bundle": str(bundle), "key": maker.key}, json_)


def _store(found: dict[str, Any]) -> None:
    from rtsysid.model import keys

    try:
        keys.set_trusted_keys(found)
    except OSError as error:
        raise StorageError("trusted keys", error.strerror or str(error), _REMEDY) from None
