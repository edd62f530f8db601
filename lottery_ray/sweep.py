"""A sweep: one Ray Tune trial per node, each released when its parents are done."""

import logging
import os
import shlex
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray._private.services import canonicalize_bootstrap_address
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.exceptions import AuthenticationError, RpcError
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from lottery_ray.errors import InputError
from lottery_ray.nodes import Node, key, processes
from lottery_ray.progress import Failure, Progress
from lottery_ray.schedule import Schedule, remaining_path
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


DEATHS = 5
"""So often the process of a node may die before the node counts as failed."""


AHEAD = 8
"""So many nodes are handed out before there is room for them: those that new machines are started for."""


class GraphSearcher(Searcher):  # type: ignore[misc]
    """Hands out the nodes whose parents are done, longest remaining path first, and drops the
    descendants of a node that failed. A node that left no log did not raise: its process died, and it is
    handed out again, to go on from its checkpoint."""

    def __init__(self, plan: Plan, store: Store, progress: Progress) -> None:
        super().__init__()
        self.store = store
        self.progress = progress
        self.schedule = Schedule(plan.nodes, progress.done, remaining_path(plan.nodes))
        self.trials: dict[str, Node] = {}
        self.waiting: dict[str, Node] = {}
        self.tune_trials: dict[str, Any] = {}
        self.begun = store.begun()
        self.old_logs: dict[Node, set[str]] = {}
        self.deaths: Counter[Node] = Counter()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.schedule.ended:
            return str(Searcher.FINISHED)
        if len(self.waiting) >= AHEAD and not self._next_is_first():
            return None
        node = self.schedule.next()
        if node is None:
            return None
        self.trials[trial_id] = self.waiting[trial_id] = node
        # on object storage each look takes its time, and there are none where nothing was
        self.old_logs[node] = self.store.error_logs(node) if key(node) in self.begun else set()
        return {"node": key(node)}

    def _next_is_first(self) -> bool:
        """Whether the next node should run before all that wait for room."""
        node = self.schedule.peek()
        return node is not None and self.priority(node) > max(map(self.priority, self.waiting.values()))

    def priority(self, node: Node) -> float:
        return self.schedule.priority[node]

    def most_urgent(self, trial_ids: Iterable[str]) -> str | None:
        """Which of these trials should have the next free process."""
        return max(trial_ids, key=lambda trial_id: self.priority(self.trials[trial_id]), default=None)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        node = self.trials.pop(trial_id)
        self.waiting.pop(trial_id, None)
        if not error:
            self.schedule.finished(node)
            self.progress.finished(node)
            return
        failure = self._failure(node)
        if failure is None:
            self.deaths[node] += 1
            if self.deaths[node] < DEATHS:
                self.progress.died(node)
                self.schedule.again(node)
                return
        cause, log = failure or (self._tune_error(trial_id), "none")
        self.progress.failed(Failure(node, cause, log), self.schedule.failed(node))

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


class StartedTrials(tune.Callback):  # type: ignore[misc]
    """Tells the searcher which trials run."""

    def __init__(self, searcher: GraphSearcher) -> None:
        self.searcher = searcher

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.searcher.tune_trials[trial.trial_id] = trial
        self.searcher.waiting.pop(trial.trial_id, None)
        self.searcher.progress.started(self.searcher.trials[trial.trial_id])

    def __getstate__(self) -> dict[str, Any]:
        return {}


class LongestFirst(FIFOScheduler):  # type: ignore[misc]
    """Gives a free process to the most urgent of the nodes that wait for one, not to the oldest."""

    def __init__(self, searcher: GraphSearcher) -> None:
        super().__init__()
        self.searcher = searcher

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        # one with an actor has been given a process, and starts in a moment
        waiting = {
            trial.trial_id: trial
            for trial in tune_controller.get_live_trials()
            if trial.status == Trial.PENDING and trial.temporary_state.ray_actor is None
        }
        return waiting.get(self.searcher.most_urgent(waiting))

    def __getstate__(self) -> dict[str, Any]:
        return {}


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
    searcher = GraphSearcher(plan, store, progress)
    try:
        most = max(map(processes, plan.nodes))
        gpus = _gpus_per_trial(site, most)
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
                [_resources(several.get(config["node"], 1), site, gpus)]
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
    if run is None:
        from lottery_ray import trial

        run = trial.run
    run(
        nodes[config["node"]],
        root,
        folders,
        cpu=gpus == 0,
        keep_retrained=keep_retrained,
        checkpoint_minutes=checkpoint_minutes,
    )
    tune.report({"done": 1})


def connect(address: str) -> None:
    """Join the Ray cluster at an address ("auto": the one of this machine), or start one here ("local").

    Raises InputError if none answers there, if it asks for a token that this process has not, or if it has
    another version of Ray or Python.
    """
    # Ray starts its workers through a shell, which would split a path with spaces
    quoted = {"py_executable": shlex.quote(sys.executable)}
    local = {"include_dashboard": False, "runtime_env": quoted} if address == "local" else {}
    # failures are told by the progress display and at the end
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        if address != "local":
            # without the token, ray.init tries for 20 s, and then says nothing of it
            GcsClient(address=canonicalize_bootstrap_address(address))
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **local)
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
