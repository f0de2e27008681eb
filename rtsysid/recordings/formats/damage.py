"""Turn what libraries raise about damaged files into one line for the user."""

from __future__ import annotations

import errno
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

from rtsysid.errors import TraceError


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Convert read errors of libraries to TraceError: damaged, or not readable."""
    try:
        yield
    except (EOFError, zlib.error, BadZipFile) as error:
        raise damaged(path, error) from error
    except OSError as error:
        # gzip and pyarrow raise a bare OSError about the content; zipfile seeks to where a damaged file says
        if error.strerror is None or error.errno == errno.EINVAL:
            raise damaged(path, error) from error
        raise TraceError(f"cannot read {path.name}", error.strerror, "check the file and its permissions") from error


def damaged(path: Path, error: Exception) -> TraceError:
    """Return the error for a file that ends early or has changed bytes."""
    reason = " ".join(str(error).split())[:120].rstrip(".")
    return TraceError(f"recording {path.name}", f"truncated or damaged ({reason})", "copy or record it again")
