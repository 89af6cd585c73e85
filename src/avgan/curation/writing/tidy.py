"""What the units hold a second time is removed once the data set holds it: their media, half of what is on the disk.

What is known of the clips stays, so that the same command finds all done. What would need the media again, another
selection or more videos, is refused before anything is touched (`write`, `pipeline.plan`).
"""

from collections.abc import Iterable
from pathlib import Path

from avgan.data.datasets.curated import LIST, SHARDS, read_list, seal_of, sha256_of
from avgan.errors import DataError
from avgan.files import to_disk


def tidy(out: Path, media: Iterable[Path]) -> None:
    """Remove the tars of the units of a data set that is written, and whole to the byte.

    Killed in the middle it leaves some, which the next one removes.

    Raises DataError where a file of the data set is not as its list says; nothing is removed then.
    """
    there = [path for path in media if path.is_file()]
    if not there:
        return
    tree = read_list(out)
    if seal_of(tree) != tree.get("seal"):
        raise DataError(
            f"{out / LIST}: was altered, so no media were removed; delete it and run again"
        )
    shards = {f"{SHARDS}/{shard['name']}": shard["sha256"] for shard in tree["shards"]}
    for name, sha256 in {**tree["files"], **shards}.items():
        path = out / name
        if not path.is_file() or sha256_of(path) != sha256:
            raise DataError(
                f"{path}: is not as it was written, so no media were removed; delete it and {LIST}, and run again"
            )
        to_disk(path)
    to_disk(out / LIST)
    for path in there:
        path.unlink()
