"""What Tune asks of a sweep: which node runs next, and what became of it."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from lottery_ray.errors import InputError
from lottery_ray.experiment.graph import Node, parents
from lottery_ray.experiment.plan import Plan
from lottery_ray.experiment.study import Site
from lottery_ray.scheduling.budget import Budget
from lottery_ray.scheduling.costs import Calibration, Canary, canaries
from lottery_ray.scheduling.progress import Failure, SweepProgress
from lottery_ray.scheduling.schedule import Schedule, remaining_path
from lottery_ray.storage.store import Store

DEATHS = 5
"""So often the process of a node may die before the node counts as failed."""
AHEAD = 8
"""So many nodes are handed out before there is room for them: those that new machines are started for."""

Job = Node | Canary


class GraphSearcher(Searcher):  # type: ignore[misc]
    """Hands out canaries and then the nodes whose parents are done, longest remaining path first, and drops
    the descendants of a node that failed. A node that left no log did not raise: its process died, and it is
    handed out again, to go on from its checkpoint."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        progress: SweepProgress,
        site: Site,
        gpus: float,
        *,
        with_canaries: bool = True,
    ) -> None:
        super().__init__()
        self.store = store
        self.progress = progress
        self.site, self.gpus = site, gpus
        self.budget = Budget(site.budget, "GPU" if gpus else "CPU")
        gone = {*progress.dropped, *(failure.node for failure in progress.failures)}
        left = [node for node in plan.nodes if node not in gone]
        self.schedule = schedule(left, progress.done, with_canaries=with_canaries)
        self.trials: dict[str, Job] = {}
        self.waiting: dict[str, Job] = {}
        self.tune_trials: dict[str, Any] = {}
        self.begun = set(store.folders("nodes"))
        self.old_logs: dict[Node, set[str]] = {}
        self.deaths: Counter[Job] = Counter()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.schedule.ended:
            return str(Searcher.FINISHED)
        job = self._next()
        if job is None:
            return None if self.trials else str(Searcher.FINISHED)
        if len(self.waiting) >= AHEAD and self.priority(job) <= max(
            map(self.priority, self.waiting.values())
        ):
            self.schedule.again(job)
            return None
        self.trials[trial_id] = self.waiting[trial_id] = job
        self.budget.handed_out(trial_id, *self._expected(job))
        node = node_of(job)
        # on object storage each look takes its time, and there are none where nothing was
        self.old_logs[node] = self.store.error_logs(node) if node.key in self.begun else set()
        return {"node": node.key, "canary": isinstance(job, Canary)}

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
        units = self.gpus or self.site.cpus_per_trial
        return 0.0 if isinstance(job, Canary) else self.progress.forecast.seconds(job) or 0.0, units

    def stops_for_budget(self) -> bool:
        """Whether the budget is used up before all is done."""
        used_up = self.budget.used_up and not self.schedule.ended
        if used_up:
            self.progress.stopped = str(self.budget)
        return used_up

    def priority(self, job: Job) -> float:
        return self.schedule.priority[job]

    def most_urgent(self, trial_ids: Iterable[str]) -> str | None:
        """Which of these trials should have the next free process."""
        return max(trial_ids, key=lambda trial_id: self.priority(self.trials[trial_id]), default=None)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        job = self.trials.pop(trial_id)
        node = node_of(job)
        self.waiting.pop(trial_id, None)
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
        dropped = [node for node in map(node_of, self.schedule.failed(job)) if node != node_of(job)]
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
        """Nothing."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("A sweep is resumed by running it again.")


def node_of(job: Job) -> Node:
    """The node that a trial is of."""
    return job.finetune if isinstance(job, Canary) else job


def schedule(nodes: Sequence[Node], done: Set[Node], *, with_canaries: bool) -> Schedule[Job]:
    """The canaries before all else, each before the fine-tunings of its model and task."""
    before = canaries(nodes, done) if with_canaries else {}
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
        return self.searcher.stops_for_budget()


class StartedTrials(tune.Callback):  # type: ignore[misc]
    """Tells the searcher which trials run."""

    def __init__(self, searcher: GraphSearcher) -> None:
        self.searcher = searcher

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.searcher.tune_trials[trial.trial_id] = trial
        self.searcher.waiting.pop(trial.trial_id, None)
        self.searcher.budget.started(trial.trial_id)
        self.searcher.progress.started(node_of(self.searcher.trials[trial.trial_id]))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its machine was taken away after a notice: Tune starts it elsewhere, and counts no failure."""
        self.searcher.budget.stopped(trial.trial_id)
        self.searcher.progress.running.pop(node_of(self.searcher.trials[trial.trial_id]), None)

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
