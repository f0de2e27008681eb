"""Walk structures of the Thrift compact protocol without building them, to count what a file claims.

Ref: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Iterator

I32, I64, BINARY, LIST, STRUCT = 5, 6, 8, 9, 12
_INTEGERS, _TRUE, _FALSE, _BYTE, _DOUBLE, _SET = (4, I32, I64), 1, 2, 3, 7, 10
_DEPTH = 16  # levels of structures and lists; a Parquet footer has six


class Compact:
    """Read from `data` at `at`. ``passed``: items of lists that were skipped.

    Every method raises IndexError where the data end, ValueError for an unknown type.
    """

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at, self.passed = data, at, 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """Yield number and type of each field of a structure; the caller takes or skips the value in between."""
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self.integer()
            yield number, head & 15

    def integer(self) -> int:
        """Take a signed integer."""
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def text(self) -> str:
        """Take a text."""
        self._pass(length := self._varint())
        return self.data[self.at - length : self.at].decode(errors="replace")

    def items(self) -> tuple[int, int]:
        """Take the head of a list: the type of its items, and their number."""
        head = self._byte()
        return head & 15, self._varint() if head >> 4 == 15 else head >> 4

    def skip(self, kind: int, depth: int = _DEPTH, item: bool = False) -> None:
        """Pass over a value; a truth value that is an `item` of a list takes a byte, that of a field none."""
        if depth == 0:
            raise ValueError("it is nested too deeply")
        if kind in _INTEGERS:
            self._varint()
        elif kind == BINARY:
            self._pass(self._varint())
        elif kind == STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth - 1)
        elif kind in (LIST, _SET):
            inner, count = self.items()
            self.passed += count
            for _ in range(count):
                self.skip(inner, depth - 1, item=True)
        elif kind in (_TRUE, _FALSE, _BYTE, _DOUBLE):
            self._pass({_DOUBLE: 8, _BYTE: 1}.get(kind, int(item)))
        else:
            raise ValueError(f"a value of type {kind}")

    def _pass(self, count: int) -> None:
        if count > len(self.data) - self.at:
            raise IndexError("it ends early")
        self.at += count

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) > 127:
            value |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise ValueError("an integer of more than 64 bits")
        return value | byte << shift
