"""A sweep: one Ray Tune trial per node, each released when its parents are done."""

import logging
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import ray
from ray import tune
from ray._private.services import canonicalize_bootstrap_address
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.air.execution._internal import RayActorManager
from ray.exceptions import AuthenticationError, OutOfMemoryError, RayActorError, RayError, RpcError
from ray.tune.execution import class_cache

from lottery_ray.calibration import Calibration, Canary
from lottery_ray.errors import InputError
from lottery_ray.nodes import Finetune, Node, key, processes
from lottery_ray.progress import Progress
from lottery_ray.searcher import GraphSearcher, LongestFirst, StartedTrials, UsedUp
from lottery_ray.store import Store
from lottery_ray.study import Plan, Site

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


def _memory_kills_as_losses(task_failed: Callable[..., None]) -> Callable[..., None]:
    """Where a machine's memory runs short Ray ends a process with an error that Tune does not know, which
    would end the whole sweep. It is told as the loss of the process."""

    def told(manager: Any, tracked_actor_task: Any, exception: Exception) -> None:
        known = (
            RayActorError(error_msg=str(exception)) if isinstance(exception, OutOfMemoryError) else exception
        )
        task_failed(manager, tracked_actor_task, known)

    return told


RayActorManager._actor_task_failed = _memory_kills_as_losses(RayActorManager._actor_task_failed)


def run_plan(plan: Plan, site: Site, progress: Progress, run: Callable[..., Any] | None = None) -> None:
    """Run what is missing on a Ray cluster: this machine, or the one at site.address.

    run: stands in for `trial.run`, to measure what everything around it costs.

    Raises InputError if a trial wants more CPUs or GPUs than any machine of the cluster has, unless the
    machines that take trials are yet to come.
    """
    store = Store.open(site.root)
    connect(site.address or os.environ.get("RAY_ADDRESS", "local"))
    # Tune's own files are of no use after a sweep: what is done is in the root
    scratch = tempfile.mkdtemp(prefix="lottery_ray_tune_")
    nodes = {key(node): node for node in plan.nodes}
    try:
        most = max(map(processes, plan.nodes))
        gpus = _gpus_per_trial(site, most)
        searcher = GraphSearcher(plan, store, progress, site, gpus, with_canaries=run is None)
        progress.console.print(f"each trial has {site.cpus_per_trial:g} CPUs and {gpus:g} GPUs")
        if most > 1:
            wanted = _resources(most, site, gpus)
            progress.console.print(f"of {most} processes: {wanted['CPU']:g} CPUs, {wanted['GPU']:g} GPUs")
        several = {key(node): processes(node) for node in plan.nodes if processes(node) > 1}
        trainable = tune.with_resources(
            tune.with_parameters(
                _trial,
                run=run,
                nodes=nodes,
                root=store.absolute,
                folders=plan.folders,
                gpus=gpus,
                keep_retrained=site.keep_retrained,
                checkpoint_minutes=site.checkpoint_minutes,
            ),
            lambda config: tune.PlacementGroupFactory(
                [_resources(1 if config["canary"] else several.get(config["node"], 1), site, gpus)]
            ),
        )
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher, scheduler=LongestFirst(searcher), num_samples=-1, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                verbose=0,
                callbacks=[StartedTrials(searcher)],
                stop=UsedUp(searcher),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def _resources(count: int, site: Site, gpus: float) -> dict[str, float]:
    """Of a trial of so many processes. Several have a whole GPU each, for NCCL lets none share one."""
    return {"CPU": count * site.cpus_per_trial, "GPU": count if count > 1 and gpus else gpus}


def _trial(
    config: dict[str, Any],
    *,
    run: Callable[..., Any] | None,
    nodes: dict[str, Node],
    root: str,
    folders: dict[str, str],
    gpus: float,
    keep_retrained: bool,
    checkpoint_minutes: float,
) -> None:
    from lottery_ray import canary, trial

    node, cpu = nodes[config["node"]], gpus == 0
    if config["canary"]:
        assert isinstance(node, Finetune)
        tune.report({"done": 1, **asdict(canary.run(node, root, folders, cpu=cpu))})
        return
    (run or trial.run)(
        node,
        root,
        folders,
        cpu=cpu,
        keep_retrained=keep_retrained,
        checkpoint_minutes=checkpoint_minutes,
    )
    tune.report({"done": 1})


def calibrate(plan: Plan, site: Site, first: Iterable[Canary]) -> dict[Canary, Calibration]:
    """What these canaries measure where a sweep's trials would run, side by side.

    Raises InputError if one fails.
    """
    connect(site.address or os.environ.get("RAY_ADDRESS", "local"))
    try:
        gpus = _gpus_per_trial(site, 1)
        remote = ray.remote(num_cpus=site.cpus_per_trial, num_gpus=gpus, max_retries=0)(_measure)
        running = {one: remote.remote(one.finetune, plan.folders, gpus == 0) for one in first}
        return {one: _measured(one, future) for one, future in running.items()}
    finally:
        ray.shutdown()


def _measure(node: Finetune, folders: dict[str, str], cpu: bool) -> Calibration:
    from lottery_ray import canary

    return canary.measure(node, folders, cpu=cpu)


def _measured(canary: Canary, future: Any) -> Calibration:
    try:
        found: Calibration = ray.get(future)
    except RayError as error:
        cause = getattr(error, "cause", error)
        why = " ".join(f"{type(cause).__name__}: {cause}".split())
        raise InputError(f"The canary of {canary.finetune.task} failed: {why}") from None
    return found


def connect(address: str) -> None:
    """Join the Ray cluster at an address ("auto": the one of this machine), or start one here ("local").

    Raises InputError if none answers there, if it asks for a token that this process has not, or if it has
    another version of Ray or Python.
    """
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    if " " in sys.executable:
        # Ray starts its workers through a shell, which would split the path
        options["runtime_env"] = {"py_executable": shlex.quote(sys.executable)}
    # failures are told by the progress display and at the end
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        if address != "local":
            # without the token, ray.init tries for 20 s, and then says nothing of it
            GcsClient(address=canonicalize_bootstrap_address(address))
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **options)
    except AuthenticationError:
        raise InputError(
            f"--address {address}: the cluster asks for its token. Set RAY_AUTH_MODE=token, and put the"
            " token into ~/.ray/auth_token."
        ) from None
    except (ConnectionError, RpcError) as error:
        raise InputError(f"--address {address}: no Ray cluster answers there ({error}).") from None
    except RuntimeError as error:
        if "ersion mismatch" not in str(error):
            raise
        raise InputError(f"--address {address}: {' '.join(str(error).split())}") from None


def _gpus_per_trial(site: Site, most_processes: int) -> float:
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    most = {name: max(machine.get(name, 0.0) for machine in machines) for name in ("CPU", "GPU")}
    if not most["CPU"]:
        # a head that takes no trials, alone: the autoscaler starts machines when trials wait for them
        return 1.0 if site.gpus_per_trial is None else site.gpus_per_trial
    wanted = site.gpus_per_trial if site.gpus_per_trial is not None else min(1.0, most["GPU"])
    together = _resources(most_processes, site, wanted)
    for flag, name, amount in (
        ("--gpus-per-trial", "GPU", wanted),
        ("--cpus-per-trial", "CPU", site.cpus_per_trial),
        ("--recipe.processes", "GPU", together["GPU"]),
        ("--recipe.processes", "CPU", together["CPU"]),
    ):
        if amount > most[name]:
            raise InputError(
                f"{flag} {amount:g}: no machine of the cluster has more than {most[name]:g} {name}s."
            )
    return wanted
