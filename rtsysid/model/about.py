"""Name, version and note of a bundle, its model card, and the id of its model: what a fleet knows a model by."""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec

from rtsysid.errors import ConfigError
from rtsysid.model.npz import Arrays
from rtsysid.spec import ModelSpec

CARD = "card.md"
MOST_CARD_BYTES = 64 << 10


class AboutModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the maker says of a model: a name, a version and a note, each one printable line.

    Raises ConfigError where one holds a line break or another sign that cannot be seen.
    """

    name: Annotated[str, msgspec.Meta(max_length=60)] = ""
    version: Annotated[str, msgspec.Meta(max_length=30)] = ""
    note: Annotated[str, msgspec.Meta(max_length=1000)] = ""

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            if not getattr(self, field).isprintable():
                raise ConfigError(f"{field} of the bundle", "it is not one printable line", "write letters alone")

    def given(self) -> dict[str, str]:
        """Return what is not empty, by name."""
        return {name: text for name, text in msgspec.structs.asdict(self).items() if text}


def about_of(name: str, version: str, note: str) -> AboutModel:
    """Make the description of a bundle. Raises ConfigError where a text is too long or not printable."""
    try:
        return msgspec.convert({"name": name, "version": version, "note": note}, AboutModel)
    except msgspec.ValidationError as error:
        raise ConfigError("name, version and note", str(error), "shorten it, or write it into --card FILE") from None


def plain_card(content: bytes, what: str) -> str:
    """Return a model card as text. Raises ConfigError where it is too large, no UTF-8, or holds control characters."""
    remedy = f"write plain text of at most {MOST_CARD_BYTES >> 10} KiB"
    if len(content) > MOST_CARD_BYTES:
        raise ConfigError(what, f"{len(content)} bytes", remedy)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(what, f"it is no UTF-8 ({error.reason})", remedy) from None
    if odd := next((sign for sign in text if not sign.isprintable() and sign not in "\n\t"), None):
        raise ConfigError(what, f"it holds the sign {odd!r}", remedy)
    return text


def model_digest(spec: ModelSpec, weights: Arrays) -> str:
    """Compute the SHA-256 over specification and weights [..], whatever files and targets hold them."""
    seen = hashlib.sha256(spec.fingerprint.encode())
    for name in sorted(weights):
        array = weights[name]
        seen.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        seen.update(array.tobytes())
    return seen.hexdigest()
