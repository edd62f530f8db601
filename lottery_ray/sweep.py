"""A sweep: one Ray Tune trial per node, each released when its parents are done."""

import logging
import math
import os
import shlex
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.execution import class_cache
from ray.tune.search import Searcher

from lottery_ray.budget import Budget, units
from lottery_ray.calibration import Calibration, Canary, canaries
from lottery_ray.errors import InputError
from lottery_ray.nodes import Finetune, Node, key, parents, processes
from lottery_ray.progress import Failure, Progress
from lottery_ray.schedule import Schedule, remaining_path
from lottery_ray.store import Store
from lottery_ray.study import Plan, Site

# By default Tune asks a searcher for one pending trial at a time, which with warm processes runs a whole
# sweep on one of them; it writes five files per trial that nobody reads; and it has a display of its own.
os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "8")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
# Tune would hand the driver's AWS credentials to trials as a setting, and Ray logs those
class_cache.ENV_VARS_TO_PROPAGATE -= {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
class_cache.ENV_VARS_TO_PROPAGATE -= {"AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"}


DEATHS = 5
"""So often the process of a node may die before the node counts as failed."""


Job = Node | Canary


class GraphSearcher(Searcher):  # type: ignore[misc]
    """Hands out canaries and then the nodes whose parents are done, longest remaining path first, and drops
    the descendants of a node that failed. A node that left no log did not raise: its process died, and it is
    handed out again, to go on from its checkpoint."""

    def __init__(self, plan: Plan, store: Store, progress: Progress, site: Site, gpus: float) -> None:
        super().__init__()
        self.store = store
        self.progress = progress
        self.site, self.gpus = site, gpus
        self.budget = Budget(site.budget, "GPU" if gpus else "CPU")
        self.schedule = schedule(plan.nodes, progress.done)
        self.trials: dict[str, Job] = {}
        self.tune_trials: dict[str, Any] = {}
        self.old_logs: dict[Node, set[str]] = {}
        self.deaths: Counter[Job] = Counter()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.schedule.ended:
            return str(Searcher.FINISHED)
        job = self._next()
        if job is None:
            return None if self.trials else str(Searcher.FINISHED)
        self.trials[trial_id] = job
        self.budget.handed_out(trial_id, *self._expected(job))
        node = of(job)
        self.old_logs[node] = self.store.error_logs(node)
        return {"node": key(node), "canary": isinstance(job, Canary)}

    def _next(self) -> Job | None:
        """The first that the budget allows for."""
        beyond: list[Job] = []
        while (job := self.schedule.next()) and not self.budget.fits(*self._expected(job)):
            beyond.append(job)
        for other in beyond:
            self.schedule.again(other)
        if beyond and not job and not self.trials:
            self.progress.stopped = self.budget.too_little_for(*self._expected(beyond[0]))
        return job

    def _expected(self, job: Job) -> tuple[float, float]:
        """Seconds, as far as they are known, and GPUs or CPUs."""
        if isinstance(job, Canary):
            return 0.0, units(1, self.site, self.gpus)
        return self.progress.forecast.seconds(job) or 0.0, units(processes(job), self.site, self.gpus)

    @property
    def out_of_budget(self) -> bool:
        if self.budget.used_up:
            self.progress.stopped = str(self.budget)
        return self.budget.used_up

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        job = self.trials.pop(trial_id)
        node = of(job)
        self.budget.ended(trial_id)
        if not error:
            self.schedule.finished(job)
            if isinstance(job, Canary):
                assert result
                measured = {f.name: result[f.name] for f in fields(Calibration)}
                self.progress.checked(job.finetune, Calibration(**measured))
            else:
                self.progress.finished(job)
            return
        failure = self._failure(node)
        if failure is None:
            self.deaths[job] += 1
            if self.deaths[job] < DEATHS:
                self.progress.died(node)
                self.schedule.again(job)
                return
        cause, log = failure or (self._tune_error(trial_id), "none")
        if isinstance(job, Canary):
            cause += " (in its canary)"
        dropped = [node for node in map(of, self.schedule.failed(job)) if node != of(job)]
        self.progress.failed(Failure(node, cause, log), dropped)

    def _failure(self, node: Node) -> tuple[str, str] | None:
        """Tune would call an error in its searcher one of the trial; a root out of reach is told when the
        next node is asked for."""
        with suppress(InputError):
            return self.store.failure(node, self.old_logs[node])
        return None

    def _tune_error(self, trial_id: str) -> str:
        """What Tune knows of a trial that could not write a log: its process died, or did not start."""
        path = getattr(self.tune_trials.get(trial_id), "error_file", None)
        lines = Path(path).read_text().split("\n") if path and Path(path).is_file() else []
        return next((line for line in reversed(lines) if line.strip()), "its process died")

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher to restore it; here the root says what is done."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Likewise."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("A sweep is resumed by running it again.")


def of(job: Job) -> Node:
    """The node that a trial is of."""
    return job.finetune if isinstance(job, Canary) else job


def schedule(nodes: Sequence[Node], done: Set[Node]) -> Schedule[Job]:
    """The canaries before all else, each before the fine-tunings of its model and task."""
    before = canaries(nodes, done)
    paths = remaining_path(nodes)
    first = sorted(set(before.values()), key=lambda canary: -paths[canary.finetune])
    priority: dict[Job, float] = dict.fromkeys(first, math.inf)
    for node in nodes:
        priority[node] = paths[node]

    def needs(job: Job) -> tuple[Job, ...]:
        if isinstance(job, Canary):
            return ()
        return (*parents(job), before[job]) if job in before else parents(job)

    return Schedule([*first, *nodes], done, priority, needs)


class UsedUp(tune.Stopper):  # type: ignore[misc]
    """Ends everything when the budget is used up; Tune asks all the time."""

    def __init__(self, searcher: GraphSearcher) -> None:
        self.searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.searcher.out_of_budget


class StartedTrials(tune.Callback):  # type: ignore[misc]
    """Tells the searcher which trials run; Tune asks for some nodes before it has room for them."""

    def __init__(self, searcher: GraphSearcher) -> None:
        self.searcher = searcher

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.searcher.tune_trials[trial.trial_id] = trial
        self.searcher.budget.started(trial.trial_id)
        self.searcher.progress.started(of(self.searcher.trials[trial.trial_id]))

    def __getstate__(self) -> dict[str, Any]:
        return {}


def run_plan(plan: Plan, site: Site, progress: Progress) -> None:
    """Run what is missing on a Ray cluster: this machine, or the one at site.address.

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
        searcher = GraphSearcher(plan, store, progress, site, gpus)
        progress.console.print(f"each trial has {site.cpus_per_trial:g} CPUs and {gpus:g} GPUs")
        if most > 1:
            wanted = _resources(most, site, gpus)
            progress.console.print(f"of {most} processes: {wanted['CPU']:g} CPUs, {wanted['GPU']:g} GPUs")
        several = {key(node): processes(node) for node in plan.nodes if processes(node) > 1}
        trainable = tune.with_resources(
            tune.with_parameters(
                _trial,
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
            tune_config=tune.TuneConfig(search_alg=searcher, num_samples=-1, reuse_actors=True),
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
    trial.run(
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

    Raises InputError if none answers there, or if it has another version of Ray or Python.
    """
    # Ray starts its workers through a shell, which would split a path with spaces
    quoted = {"py_executable": shlex.quote(sys.executable)}
    local = {"include_dashboard": False, "runtime_env": quoted} if address == "local" else {}
    # failures are told by the progress display and at the end
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **local)
    except ConnectionError as error:
        raise InputError(
            f"--address {address}: no Ray cluster answers there ({error}). If it has a token, set"
            " RAY_AUTH_MODE=token and put the token into ~/.ray/auth_token."
        ) from None
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
