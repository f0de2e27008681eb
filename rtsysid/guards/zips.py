"""Check the directory of a ZIP archive before the standard library reads it, which makes an object of each entry.

Ref: PKWARE APPNOTE.TXT 6.3.10, end of central directory record.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from rtsysid.guards.limits import checked_size

_END, _END64 = b"PK\5\6", b"PK\6\6"
_TAIL = (1 << 16) + 22 + 20 + 56  # a comment, and what may lie before it: two records and their locator
_ENTRY = 128  # bytes of an entry with its name: 46 at least
_UNKNOWN = 0xFFFFFFFF  # the size is in the record of 64 bits


def check_zip_directory(path: Path) -> None:
    """Raise TraceError where the directory of an archive has room for more entries than the limit `columns`."""
    with open(path, "rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL))
        tail = stream.read(_TAIL)
    claimed = max((*_directory_sizes(tail, _END, "<12xI"), *_directory_sizes(tail, _END64, "<40xQ")), default=0)
    checked_size(f"archive {path.name}: entries", claimed // _ENTRY, "columns")


def _directory_sizes(tail: bytes, mark: bytes, layout: str) -> Iterator[int]:
    """Yield what each record with this mark says: which of several counts depends on the reader."""
    form = struct.Struct(layout)
    for match in re.finditer(re.escape(mark), tail):
        size = form.unpack_from(tail, match.start())[0] if match.start() <= len(tail) - form.size else _UNKNOWN
        yield 0 if size == _UNKNOWN else size
