"""Build HTML as a tree of the standard library. Text and attributes are escaped once, when the tree is written.

Text is made visible first (`rtsysid.guards.text.for_html`): names in recordings may turn lines around.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias
from xml.etree import ElementTree as ET

from rtsysid.guards.text import for_html, visible

Node: TypeAlias = ET.Element
Child: TypeAlias = "Node | str | None"


def el(tag: str, *children: Child, **attributes: object) -> Node:
    """Create an element with children and attributes.

    In attribute names a trailing underscore is dropped, others become hyphens (``class_``, ``aria_label``). An
    attribute that is None is left out.
    """
    node = ET.Element(
        tag,
        {k.rstrip("_").replace("_", "-"): visible(str(v)) for k, v in attributes.items() if v is not None},
    )
    last: Node | None = None
    for child in children:
        if isinstance(child, str):
            if last is None:
                node.text = (node.text or "") + for_html(child)
            else:
                last.tail = (last.tail or "") + for_html(child)
        elif child is not None:
            node.append(child)
            last = child
    return node


def html(nodes: Iterable[Node]) -> str:
    """Write nodes as HTML text."""
    return "\n".join(ET.tostring(node, encoding="unicode", method="html") for node in nodes)
