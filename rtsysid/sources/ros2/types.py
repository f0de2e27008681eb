"""Definitions and type hashes of ROS 2 messages: those that ROS ships, and ``.msg`` files of the user. By rosbags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rtsysid.errors import LinkError
from rtsysid.guards.limits import limit
from rtsysid.sources.needs import live_package

_MOST_FILES = 1000


class Types:
    """Know message types. `folder`: of packages with ``msg/NAME.msg``, or "". Raises LinkError where one is wrong."""

    def __init__(self, folder: str = "", distro: str = "jazzy") -> None:
        typesys = live_package("rosbags.typesys", "ROS 2")
        stores = {each.value: each for each in typesys.Stores}
        if f"ros2_{distro}" not in stores:
            names = ", ".join(sorted(name.removeprefix("ros2_") for name in stores if name.startswith("ros2_")))
            raise LinkError("ROS 2", f"distro={distro} is not known", f"name one of {names}")
        self.store: Any = typesys.get_typestore(stores[f"ros2_{distro}"])
        for name, text in _read_definitions(folder).items():
            try:
                self.store.register(typesys.get_types_from_msg(text, name))
            except Exception as error:  # the parser has errors of its own
                raise LinkError(
                    f"message type {name}", " ".join(str(error).split())[:200], "correct its file"
                ) from None

    def text(self, name: str) -> str | None:
        """Return the definition of a type with those of its parts; None where it is not known."""
        if name not in self.store.fielddefs:
            return None
        text: str = self.store.generate_msgdef(name, ros_version=2)[0]
        return text

    def type_hash(self, name: str) -> str:
        """Return the hash of a type: RIHS01 and 64 digits. Raises KeyError where it is not known."""
        found: str = self.store.hash_rihs01(name)
        return found

    def pack(self, name: str, /, **fields: Any) -> bytes:
        """Encode a message of the type `name`."""
        return bytes(self.store.serialize_cdr(self.make(name, **fields), name))

    def make(self, name: str, /, **fields: Any) -> Any:
        """Make a message of the type `name`."""
        return self.store.types[name](**fields)


def _read_definitions(folder: str) -> Mapping[str, str]:
    """Read ``PACKAGE/msg/NAME.msg`` below a folder, by type name. Raises LinkError where it cannot be read."""
    found: dict[str, str] = {}
    try:
        for path in sorted(Path(folder).glob("**/msg/*.msg"))[:_MOST_FILES] if folder else ():
            with path.open("rb") as file:
                found[f"{path.parts[-3]}/msg/{path.stem}"] = file.read(limit("definition_bytes")).decode()
    except (OSError, ValueError) as error:
        raise LinkError(f"message types of {folder}", str(error), "name a folder of ROS packages") from None
    if folder and not found:
        raise LinkError(f"message types of {folder}", "no PACKAGE/msg/NAME.msg", "name a folder of ROS packages")
    return found
