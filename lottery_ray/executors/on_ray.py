"""A sweep: one Ray Tune trial per node, each released when its parents are done."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError

from lottery_ray.cluster.machines import join_cluster
from lottery_ray.errors import InputError
from lottery_ray.executors import tune_internals
from lottery_ray.executors.resources import in_words, one_trial, packed_share, slots
from lottery_ray.executors.tune import GraphSearcher, LongestFirst, StartedTrials, UsedUp
from lottery_ray.experiment.graph import Node
from lottery_ray.experiment.nodes import Finetune
from lottery_ray.experiment.plan import Plan
from lottery_ray.experiment.study import Site
from lottery_ray.scheduling.costs import Calibration, Canary, canaries
from lottery_ray.scheduling.forecast import Memory
from lottery_ray.scheduling.progress import SweepProgress
from lottery_ray.storage.store import Store
from lottery_ray.tracking.settings import UNTRACKED, Tracking
from lottery_ray.trial.settings import TrialSettings, trial_settings

BETWEEN_STARTS = 0.05
"""Seconds, on average, between two processes that begin their first tracked runs: a service takes some
hundreds of requests a second."""


def run_plan(
    plan: Plan,
    site: Site,
    progress: SweepProgress,
    track: Tracking = UNTRACKED,
    run: Callable[..., Any] | None = None,
) -> None:
    """Run what is missing on a Ray cluster: this machine, or the one at site.address.

    run: stands in for `trial.node.run_node`, to measure what everything around it costs.

    Raises InputError if a trial wants more CPUs or GPUs than any machine of the cluster has, unless the
    machines that take trials are yet to come.
    """
    store = Store.open(site.root)
    address = _address(site)
    if address != "local":
        progress.console.print(f"joining the Ray cluster at {address}")
    join_cluster(address)
    tune_internals.set_up()
    # Tune's own files are of no use after a sweep: what is done is in the root
    scratch = tempfile.mkdtemp(prefix="lottery_ray_tune_")
    try:
        one = _resources(plan, site, progress)
        progress.console.print(f"each trial has {in_words(one)}")
        measured = run is not None or bool(progress.forecast.calibrations)
        searcher = GraphSearcher(plan, store, progress, site, one["GPU"], with_canaries=not measured)
        spread = slots(one) * BETWEEN_STARTS
        settings = trial_settings(plan, site, track, cpu=not one["GPU"], spread=spread)
        nodes = {node.key: node for node in plan.nodes}
        trainable = tune.with_parameters(
            _trial, run=run, nodes=nodes, settings=replace(settings, root=store.absolute)
        )
        tune.Tuner(
            tune.with_resources(trainable, tune.PlacementGroupFactory([one])),
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


def _address(site: Site) -> str:
    return site.address or os.environ.get("RAY_ADDRESS", "local")


def _resources(plan: Plan, site: Site, progress: SweepProgress) -> dict[str, float]:
    """What a trial has; where as many as fit share a GPU, after canaries if nothing was measured yet."""
    memory = progress.forecast.memory
    if site.gpus_per_trial != "packed":
        return one_trial(site, site.gpus_per_trial, memory)
    if not memory.of_gpu:
        first = dict.fromkeys(canaries(plan.nodes, progress.done).values())
        progress.console.print("measuring how much of a GPU's memory a trial takes")
        for canary, found in _side_by_side(plan, site, first).items():
            progress.forecast.calibrate(canary.finetune, found)
    return one_trial(site, packed_share(site, memory), memory)


def _trial(
    config: dict[str, Any], *, run: Callable[..., Any] | None, nodes: dict[str, Node], settings: TrialSettings
) -> None:
    # a driver needs no torch
    from lottery_ray.trial.canary import run_canary
    from lottery_ray.trial.node import run_node

    node = nodes[config["node"]]
    if config["canary"]:
        assert isinstance(node, Finetune)
        tune.report({"done": 1, **asdict(run_canary(node, settings))})
        return
    (run or run_node)(node, settings)
    tune.report({"done": 1})


def calibrate(plan: Plan, site: Site, first: Iterable[Canary]) -> dict[Canary, Calibration]:
    """What these canaries measure where a sweep's trials would run, side by side.

    Raises InputError if one fails.
    """
    join_cluster(_address(site))
    try:
        return _side_by_side(plan, site, first)
    finally:
        ray.shutdown()


def _side_by_side(plan: Plan, site: Site, first: Iterable[Canary]) -> dict[Canary, Calibration]:
    gpus = 1.0 if site.gpus_per_trial == "packed" else site.gpus_per_trial
    one = one_trial(site, gpus, Memory())
    settings = trial_settings(plan, site, UNTRACKED, cpu=not one["GPU"])
    remote = ray.remote(num_cpus=one["CPU"], num_gpus=one["GPU"], max_retries=0)(_measure)
    running = {canary: remote.remote(canary.finetune, settings) for canary in first}
    return {canary: _measured(canary, future) for canary, future in running.items()}


def _measure(node: Finetune, settings: TrialSettings) -> Calibration:
    from lottery_ray.trial.canary import measure

    return measure(node, settings)


def _measured(canary: Canary, future: Any) -> Calibration:
    try:
        found: Calibration = ray.get(future)
    except RayError as error:
        cause = getattr(error, "cause", error)
        why = " ".join(f"{type(cause).__name__}: {cause}".split())
        raise InputError(f"The canary of {canary.finetune.task} failed: {why}") from None
    return found
