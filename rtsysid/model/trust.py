"""Tell whose bundle this is: only the C library of a trusted maker is loaded without being asked for.

`export` signs the digest of a bundle with the key of the user who exports it (`rtsysid.model.keys`). The signature lies
in `signature.json`, the one file that the manifest does not list. The digest covers every other file, so that a
changed byte makes the signature void. Trusted is what this user's own key has signed, and the keys that
`rtsysid trust add` was given.

Ref: RFC 8032, Ed25519.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from rtsysid.errors import RtsysidError
from rtsysid.model import keys
from rtsysid.model.untrusted import Refusal, parse_json, structure_of

NAME = "signature.json"
MOST_BYTES = 1000
_PURPOSE = b"rtsysid bundle 1\n"  # so that the signature of something else is none of a bundle
_ASKED = '--trust or --backend c (backend="c" in Python) loads it once'


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `signature.json` holds: public key and signature, as hexadecimal text."""

    key: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    signature: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{128}$")]


class Maker(NamedTuple):
    """The signer of a bundle. ``name``: empty where it is not trusted; ``reason`` then says why, as a clause.

    ``key``: the public key as hexadecimal text; empty without a valid signature.
    """

    name: str
    key: str
    reason: str


def sign(folder: Path, digest: str) -> None:
    """Sign a bundle in a folder by its digest; one logged line where it cannot be signed."""
    try:
        found = msgspec.to_builtins(signature_of(digest, keys.make_private_key()))
        (folder / NAME).write_text(json.dumps(found, indent=1) + "\n")
    except (OSError, ImportError) as error:
        message = "this bundle could not be signed as exported on this machine (%s): its C library needs --trust"
        logging.getLogger(__name__).warning(message, getattr(error, "strerror", None) or error)


def signature_of(digest: str, private: bytes) -> Signature:
    """Sign a digest, as hexadecimal text, with a private key of 32 bytes."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(private)
    return Signature(key.public_key().public_bytes_raw().hex(), key.sign(_PURPOSE + digest.encode()).hex())


def own_public_key(*, make: bool = False) -> str | None:
    """Return the public key of this user as hexadecimal text; None where there is none and it is not to be made.

    Raises OSError where it cannot be kept.
    """
    private = keys.make_private_key() if make else keys.private_key()
    if private is None:
        return None
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw().hex()


def maker_of(digest: str, content: bytes | None) -> Maker:
    """Find out who signed a bundle with this digest. `content`: the bytes of its `signature.json`, if it has one."""
    if content is None:
        return Maker("", "", f"it is not signed, so nobody knows its maker; {_ASKED}")
    try:
        signature = structure_of(parse_json(content, NAME, _REFUSAL), Signature, NAME, _REFUSAL)
        valid = _is_valid(signature, digest)
    except RtsysidError as error:
        return Maker("", "", f"{error.found}; {_ASKED}")
    except ImportError:
        remedy = "pip install cryptography"
        return Maker("", "", f"signatures cannot be checked here, the package cryptography is missing; {remedy}")
    if not valid:
        return Maker("", "", f"its signature is not that of these files; {_ASKED}")
    return _maker(signature.key)


def _maker(key: str) -> Maker:
    if key == own_public_key():
        return Maker("this user", key, "")
    trusted = keys.trusted_keys()
    if key in trusted:
        return Maker(trusted[key] or key[:12], key, "")
    return Maker("", key, f"it is signed by an unknown key; rtsysid trust add {key} trusts its maker, {_ASKED}")


def _is_valid(signature: Signature, digest: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.key))
        key.verify(bytes.fromhex(signature.signature), _PURPOSE + digest.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


_REFUSAL = Refusal(RtsysidError, NAME, "sign it again: rtsysid trust sign BUNDLE")
