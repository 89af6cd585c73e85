"""The engines by name."""

import os
from functools import partial

from avgan.curation.engines import Engine


def engine_named(name: str, num_jobs: int | None) -> Engine:
    """`local`: so many processes of this machine. `ray`: a cluster. As many jobs as there are cores, unless said."""
    if name == "ray":
        from avgan.curation.engines.ray import make_on_cluster

        return partial(make_on_cluster, num_jobs=num_jobs)
    from avgan.curation.engines.local import make_in_processes

    return partial(make_in_processes, num_jobs=num_jobs or os.cpu_count() or 1)
