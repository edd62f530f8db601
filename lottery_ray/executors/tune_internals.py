"""Tune set up for sweeps: its settings, and two places of its inside."""

import os
from collections.abc import Callable
from typing import Any

from ray.air.execution._internal import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.execution import class_cache


def set_up() -> None:
    """In this process, before a sweep."""
    # By default Tune asks a searcher for one pending trial at a time, which with warm processes runs a whole
    # sweep on one of them (GraphSearcher says when it is enough); it writes five files per trial that nobody
    # reads, and a snapshot of all trials every ten seconds or so; and it has a display of its own.
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "1000000")
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1000000")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # Tune would hand the driver's AWS credentials to trials as a setting, and Ray logs those
    class_cache.ENV_VARS_TO_PROPAGATE -= {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    class_cache.ENV_VARS_TO_PROPAGATE -= {"AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"}
    RayActorManager._actor_task_failed = _memory_kills_as_losses


_task_failed: Callable[..., None] = RayActorManager._actor_task_failed


def _memory_kills_as_losses(manager: Any, tracked_actor_task: Any, exception: Exception) -> None:
    """Where a machine's memory runs short Ray ends a process with an error that Tune does not know, which
    would end the whole sweep. It is told as the loss of the process."""
    lost = isinstance(exception, OutOfMemoryError)
    known = RayActorError(error_msg=str(exception)) if lost else exception
    _task_failed(manager, tracked_actor_task, known)
