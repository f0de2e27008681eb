"""A function of the user as a source: ``python:MODULE:FUNCTION``. The module is imported from the current folder, too.

The function takes no arguments and yields messages: a table ``{"t": 1.5, "vx": 0.2}`` with ``t`` in s, perhaps with a
``topic``, or a pair of t and a table, or a `rtsysid.Sample` in the order of the channels. It may wait between them. A
class that implements `rtsysid.source.Source` is used as it is.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import msgspec

from rtsysid.errors import LinkError, RtsysidError
from rtsysid.sources.format import StreamFormat, Transport
from rtsysid.sources.json_lines import JsonLines, line_of
from rtsysid.sources.messages import flat_numbers
from rtsysid.sources.stream import StreamSource
from rtsysid.sources.url import parse


def open_function(url: str, **options: Any) -> Any:
    """Return the source of a function, or make the class that the address names.

    Raises LinkError where module or function are not there.
    """
    found = _named_in_module(url)
    if not isinstance(found, type):
        return FunctionSource(url, found, **options)
    try:
        return found(url, **options)
    except RtsysidError:
        raise
    except Exception as error:  # of the user's code
        told = f"making {found.__name__} failed: {error!r}"
        raise LinkError(f"source {url}", told, "make it as Class(url, **options): see rtsysid.source") from error


class _NoOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A function takes no options in its address."""


class FunctionSource(StreamSource):
    """The source of a function: see the module."""

    AHEAD_S = math.inf
    SILENCE_S = math.inf
    GREEDY = False

    def __init__(self, url: str, function: Any, **options: Any) -> None:
        self._function = function
        super().__init__(url, **options)
        self.url.choose(_NoOptions)

    def make_format(self) -> StreamFormat:
        """Make the format of the messages."""
        return JsonLines()

    def connect(self) -> Transport:
        """Call the function. Raises LinkError where it fails, takes arguments, or yields nothing."""
        try:
            messages = iter(self._function())
        except Exception as error:  # of the user's code
            found = f"calling the function failed: {error!r}"
            raise LinkError(f"source {self.url.text}", found, "name one without arguments that yields") from error
        return _Called(messages, [each.name for each in self.mapping.channels], self.url.text)


class _Called:
    """What a function yields, as lines of JSON."""

    def __init__(self, messages: Iterator[Any], names: Sequence[str], url: str) -> None:
        self._messages, self._names, self._url = messages, names, url

    def receive(self, timeout_s: float) -> Sequence[bytes]:
        """Return the next message. Raises EOFError after the last, LinkError where it is none."""
        try:
            found = next(self._messages)
        except StopIteration:
            raise EOFError from None
        except Exception as error:  # of the user's code
            raise LinkError(f"source {self._url}", f"the function failed: {error!r}", "correct it") from error
        try:
            return [self._line(found)]
        except (LookupError, TypeError, ValueError) as error:
            remedy = 'yield {"t": seconds, "name": value}'
            raise LinkError(f"source {self._url}", f"it yielded {str(found)[:80]!r}: {error!r}", remedy) from None

    def send(self, data: bytes) -> bool:
        """Take nothing: a function hears no predictions. A class that implements `Source` does."""
        return False

    def close(self) -> None:
        """Close a generator."""
        close = getattr(self._messages, "close", None)
        if close is not None:
            close()

    def _line(self, found: Any) -> bytes:
        if isinstance(found, Mapping):
            values = dict(found)
            topic, t = values.pop("topic", ""), values.pop("t")
            return line_of(str(topic), float(t), dict(flat_numbers(values)))
        t, values = found
        named = values if isinstance(values, Mapping) else dict(zip(self._names, values, strict=True))
        return line_of("", float(t), {name: float(value) for name, value in named.items()})


def _named_in_module(url: str) -> Any:
    """Import what ``python:MODULE:FUNCTION`` names. Raises LinkError where it is not there."""
    module, _, name = parse(url).rest.partition(":")
    if not (module and name.isidentifier()):
        raise LinkError(f"source {url}", "no module and function", "write python:MODULE:FUNCTION")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise LinkError(f"source {url}", str(error), "name a module of this folder and a function in it") from None
    except (Exception, SystemExit) as error:  # of the user's code
        raise LinkError(f"source {url}", f"importing {module} failed: {error!r}", "correct the module") from error
