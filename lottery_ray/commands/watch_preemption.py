"""Runs beside Ray on a spot machine; drains its node when the cloud gives notice.

    nohup setsid python jobs/watch_preemption.py aws > /tmp/watch_preemption.log 2>&1 < /dev/null &

It ends when Ray is gone from the machine. What happens on a notice: docs/cluster.md.
"""

from dataclasses import dataclass, replace
from typing import Literal

import tyro

from lottery_ray.cluster import preemption
from lottery_ray.errors import InputError
from lottery_ray.terminal import flags_of, show_error


@dataclass(frozen=True)
class WatchPreemption:
    """Whose notice to wait for, and what to do then."""

    cloud: tyro.conf.Positional[Literal["aws", "gcp", "now"]]
    """Whose metadata service to ask; now: notice has been given, as a hook of Kubernetes knows."""
    grace: int | None = None
    """Seconds from the notice to the end of Ray here. None: 60, with gcp 15."""
    url: str | None = None
    """The metadata service. None: the cloud's."""
    node_id: str | None = None
    """Ray's node. None: the one that runs on this machine."""


def main() -> int:
    """Exit status."""
    wanted = flags_of(WatchPreemption, __doc__)
    given = {name: value for name in ("grace", "url") if (value := getattr(wanted, name)) is not None}
    try:
        preemption.watch(replace(preemption.CLOUDS[wanted.cloud], **given), preemption.raylet(wanted.node_id))
    except InputError as error:
        show_error(error)
        return 2
    return 0
