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

from lottery_ray.errors import InputError
from lottery_ray.executors.tune import GraphSearcher, LongestFirst, StartedTrials, UsedUp
from lottery_ray.experiment.nodes import Finetune, Node, key, processes
from lottery_ray.experiment.plan import Plan
from lottery_ray.experiment.study import Site
from lottery_ray.extending import Extension
from lottery_ray.scheduling.calibration import Calibration, Canary, canaries
from lottery_ray.scheduling.forecast import Memory
from lottery_ray.scheduling.progress import Progress
from lottery_ray.storage.store import Store
from lottery_ray.tracking.settings import UNTRACKED, Tracking

BETWEEN_STARTS = 0.05
"""Seconds, on average, between two processes that begin their first tracked runs: a service takes some
hundreds of requests a second."""

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


def run_plan(
    plan: Plan,
    site: Site,
    progress: Progress,
    track: Tracking = UNTRACKED,
    run: Callable[..., Any] | None = None,
) -> None:
    """Run what is missing on a Ray cluster: this machine, or the one at site.address.

    run: stands in for `trial.run`, to measure what everything around it costs.

    Raises InputError if a trial wants more CPUs or GPUs than any machine of the cluster has, unless the
    machines that take trials are yet to come.
    """
    store = Store.open(site.root)
    address = site.address or os.environ.get("RAY_ADDRESS", "local")
    if address != "local":
        progress.console.print(f"joining the Ray cluster at {address}")
    connect(address)
    # Tune's own files are of no use after a sweep: what is done is in the root
    scratch = tempfile.mkdtemp(prefix="lottery_ray_tune_")
    nodes = {key(node): node for node in plan.nodes}
    try:
        most = max(map(processes, plan.nodes))
        gpus = _packed(plan, site, progress) if site.gpus_per_trial == "packed" else site.gpus_per_trial
        one = _one_trial(site, gpus, progress.forecast.memory, most)
        measured = run is not None or bool(progress.forecast.calibrations)
        searcher = GraphSearcher(plan, store, progress, site, one["GPU"], with_canaries=not measured)
        progress.console.print(f"each trial has {_in_words(one)}")
        if most > 1:
            progress.console.print(f"of {most} processes: {_in_words(_of_processes(most, one))}")
        several = {key(node): processes(node) for node in plan.nodes if processes(node) > 1}
        trainable = tune.with_resources(
            tune.with_parameters(
                _trial,
                run=run,
                nodes=nodes,
                root=store.absolute,
                folders=plan.folders,
                extensions=plan.extensions,
                gpus=one["GPU"],
                keep_retrained=site.keep_retrained,
                checkpoint_minutes=site.checkpoint_minutes,
                track=track,
                spread=_slots(one) * BETWEEN_STARTS,
            ),
            lambda config: tune.PlacementGroupFactory(
                [_of_processes(1 if config["canary"] else several.get(config["node"], 1), one)]
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


def _of_processes(count: int, one: dict[str, float]) -> dict[str, float]:
    """What a trial of so many has. Several have a whole GPU each, for NCCL lets none share one."""
    return {name: count * amount for name, amount in one.items()} | {
        "GPU": count if count > 1 and one["GPU"] else one["GPU"]
    }


def _in_words(resources: dict[str, float]) -> str:
    words = " and ".join(
        f"{resources[name]:g} {name}{'' if resources[name] == 1 else 's'}" for name in ("CPU", "GPU")
    )
    return f"{words}, and {resources['memory'] / 2**30:.2g} GiB" if "memory" in resources else words


def _trial(
    config: dict[str, Any],
    *,
    run: Callable[..., Any] | None,
    nodes: dict[str, Node],
    root: str,
    folders: dict[str, str],
    extensions: tuple[Extension, ...],
    gpus: float,
    keep_retrained: bool,
    checkpoint_minutes: float,
    track: Tracking,
    spread: float,
) -> None:
    from lottery_ray.trial import canary
    from lottery_ray.trial import node as trial

    node, cpu = nodes[config["node"]], gpus == 0
    if config["canary"]:
        assert isinstance(node, Finetune)
        measured = canary.run(node, root, folders, cpu=cpu, extensions=extensions)
        tune.report({"done": 1, **asdict(measured)})
        return
    (run or trial.run)(
        node,
        root,
        folders,
        cpu=cpu,
        keep_retrained=keep_retrained,
        checkpoint_minutes=checkpoint_minutes,
        track=track,
        spread=spread,
        extensions=extensions,
    )
    tune.report({"done": 1})


def calibrate(plan: Plan, site: Site, first: Iterable[Canary]) -> dict[Canary, Calibration]:
    """What these canaries measure where a sweep's trials would run, side by side.

    Raises InputError if one fails.
    """
    connect(site.address or os.environ.get("RAY_ADDRESS", "local"))
    try:
        gpus = 1.0 if site.gpus_per_trial == "packed" else site.gpus_per_trial
        return _side_by_side(plan, first, _one_trial(site, gpus, Memory()))
    finally:
        ray.shutdown()


def _side_by_side(plan: Plan, first: Iterable[Canary], one: dict[str, float]) -> dict[Canary, Calibration]:
    remote = ray.remote(num_cpus=one["CPU"], num_gpus=one["GPU"], max_retries=0)(_measure)
    running = {canary: remote.remote(canary.finetune, plan, one["GPU"] == 0) for canary in first}
    return {canary: _measured(canary, future) for canary, future in running.items()}


def _measure(node: Finetune, plan: Plan, cpu: bool) -> Calibration:
    from lottery_ray.trial import canary

    return canary.measure(node, plan.folders, cpu=cpu, extensions=plan.extensions)


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


def _machines() -> list[dict[str, float]]:
    """The resources of those that take trials; none where they are yet to be started."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [machine for machine in machines if machine.get("CPU")]


def _slots(one: dict[str, float]) -> float:
    """How many trials run side by side, as far as CPUs and GPUs say."""
    return sum(
        min(machine.get(name, 0.0) / one[name] for name in ("CPU", "GPU") if one[name])
        for machine in _machines()
    )


def _packed(plan: Plan, site: Site, progress: Progress) -> float:
    """The share of a GPU that each trial has where as many share one as fit.

    Raises InputError where nothing says how much memory they take.
    """
    memory = progress.forecast.memory
    if not memory.of_gpu:
        first = dict.fromkeys(canaries(plan.nodes, progress.done).values())
        progress.console.print("measuring how much of a GPU's memory a trial takes")
        for canary, found in _side_by_side(plan, first, _one_trial(site, 1.0, Memory())).items():
            progress.forecast.calibrate(canary.finetune, found)
    if not memory.of_gpu:
        raise InputError(
            "--gpus-per-trial packed: nothing was measured on a GPU; give a number, such as 0.25."
        )
    gpus = [machine for machine in _machines() if machine.get("GPU")]
    by_cpus = min(machine["CPU"] / machine["GPU"] / site.cpus_per_trial for machine in gpus)
    # in the steps that Ray counts in, and never above the share
    return 10_000 // max(1, min(memory.trials_per_gpu, int(by_cpus))) / 10_000


def _one_trial(site: Site, gpus: float | None, memory: Memory, most_processes: int = 1) -> dict[str, float]:
    """What a trial of one process has of a machine. gpus: None where the machines decide. memory: what trials
    have taken; with a tenth to spare it is set aside, so that Ray starts no more than a machine holds.

    Raises InputError if no machine has as much.
    """
    machines = _machines()
    if not machines:
        return {"CPU": site.cpus_per_trial, "GPU": 1.0 if gpus is None else gpus}
    most = {name: max(machine.get(name, 0.0) for machine in machines) for name in ("CPU", "GPU", "memory")}
    one = {"CPU": site.cpus_per_trial, "GPU": min(1.0, most["GPU"]) if gpus is None else gpus}
    together = _of_processes(most_processes, one)
    for flag, name, amount in (
        ("--gpus-per-trial", "GPU", one["GPU"]),
        ("--cpus-per-trial", "CPU", one["CPU"]),
        ("--recipe.processes", "GPU", together["GPU"]),
        ("--recipe.processes", "CPU", together["CPU"]),
    ):
        if amount > most[name]:
            raise InputError(
                f"{flag} {amount:g}: no machine of the cluster has more than {most[name]:g} {name}s."
            )
    # whoever has less runs them one at a time
    aside = min(1.1 * memory.host, most["memory"] / most_processes)
    return one | ({"memory": aside} if memory.host else {})
