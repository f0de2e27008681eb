"""Write the example recordings that come with the package: eight runs of a Schunk arm.

Six-jointed arm, 250 Hz, joint torques in and joint angles and speeds out. S. Liu and M. Althoff, IROS 2018,
https://doi.org/10.1109/IROS.2018.8594020, by way of AutoKoopman. Licence: CC0 1.0, see the file LICENSE of the folder.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from rtsysid.storage import replacing
from rtsysid.storage.products import EXAMPLE, sha256, write_mark


def write_example(folder: Path | str, *, overwrite: bool = False) -> Iterator[str]:
    """Write the runs as CSV to `folder`, and yield the path of each in it. The folder appears when it is complete.

    Its folder `train` has six runs, its folder `unseen` two. Raises StorageError where the folder is refused.
    """
    packed = resources.files("rtsysid.recordings").joinpath("example")
    with replacing(folder, EXAMPLE, overwrite=overwrite) as new:
        (new / "LICENSE").write_bytes(packed.joinpath("LICENSE").read_bytes())
        for run in sorted(each.name for each in packed.iterdir() if each.name.endswith(".csv.gz")):
            part, _, number = run.removesuffix(".csv.gz").partition("_")
            path = new / part / f"run_{number}.csv"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(gzip.decompress(packed.joinpath(run).read_bytes()))
            yield str(path.relative_to(new))
        files = sorted(path for path in new.rglob("*") if path.is_file())
        write_mark(new, EXAMPLE, files={path.relative_to(new).as_posix(): sha256(path) for path in files})
