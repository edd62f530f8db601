"""What would run, how long that takes, and on how many GPUs: said before anything runs."""

import math
from collections.abc import Iterable, Mapping, Set

from rich.console import Console
from rich.table import Table

from lottery_ray.experiment.checks import few_held_out
from lottery_ray.experiment.graph import Node, in_order, node_title
from lottery_ray.experiment.plan import Plan
from lottery_ray.experiment.study import PRESETS, Site, Study, flat_choices
from lottery_ray.scheduling.costs import Canary, canaries
from lottery_ray.scheduling.forecast import Forecast, Memory, lower_bound, makespan
from lottery_ray.scheduling.progress import duration


def first_trials(planned: Plan, done: Set[str]) -> list[Canary]:
    """The canaries that a sweep begins with. done: keys."""
    before = canaries(planned.nodes, {node for node in planned.nodes if node.key in done})
    return list(dict.fromkeys(before.values()))


def list_nodes(planned: Plan, done: Set[str], console: Console) -> None:
    """A line for each. done: keys."""
    for node in planned.nodes:
        state = "done  " if node.key in done else "to run"
        console.print(f"{state}  {node.key}  {node_title(node)}", markup=False)


def count_by_stage(nodes: Iterable[Node], done: Set[str]) -> dict[str, tuple[int, int]]:
    """{stage: (done, all)}, in the order of the graph. done: keys."""
    counts: dict[str, tuple[int, int]] = {}
    for node in in_order(nodes):
        finished, total = counts.get(node.stage, (0, 0))
        counts[node.stage] = finished + (node.key in done), total + 1
    return counts


def by_kind(planned: Plan, done: Set[str]) -> Table:
    """How many nodes of each kind are done and to run. done: keys."""
    table = Table(title=f"\n{len(planned.nodes)} nodes", title_justify="left", box=None, pad_edge=False)
    for heading in ("kind of node", "done", "to run", "all"):
        table.add_column(heading, justify="left" if heading == "kind of node" else "right")
    for name, (finished, total) in count_by_stage(planned.nodes, done).items():
        table.add_row(name, str(finished), str(total - finished), str(total))
    return table


def show_forecast(
    site: Site, price: float | None, missing: list[Node], forecast: Forecast, console: Console
) -> None:
    """Hours, cost, memory and makespans. price: of an hour; None where it is not asked for."""
    found = {node: forecast.seconds(node) for node in missing}
    seconds = {node: value for node, value in found.items() if value is not None}
    if len(seconds) < len(missing):
        console.print("\nNo forecast: nothing was measured yet.")
        return
    gpus = _gpus_per_trial(site, forecast)
    unit, per_trial = ("GPU", gpus) if gpus else ("CPU", site.cpus_per_trial)
    ranges = [(value, *forecast.range(node)) for node, value in seconds.items()]
    hours = [per_trial * sum(each) / 3600 for each in zip(*ranges, strict=True)]
    console.print(f"\nTo run: about {_about(hours)} {unit}-hours")
    if price is not None:
        cost = _about([price * each for each in hours])
        console.print(f"Cost: about {cost}, at {price:g} per {unit}-hour")
    console.print(f"Memory: {_memory(forecast.memory)}")
    console.print(f"From {forecast.basis(missing)}")
    console.print(_by_slots(seconds, unit, per_trial))


def _gpus_per_trial(site: Site, forecast: Forecast) -> float:
    if site.gpus_per_trial == "packed":
        return 1 / forecast.memory.trials_per_gpu if forecast.gpu else 0.0
    return float(forecast.gpu) if site.gpus_per_trial is None else site.gpus_per_trial


def _memory(peak: Memory) -> str:
    """What a trial takes, in words."""
    words = f"at most {peak.host / 2**30:.2g} GiB per trial" if peak.host else "not measured"
    if not peak.of_gpu:
        return words
    fit = f"{peak.trials_per_gpu} fit on one of {peak.of_gpu / 2**30:.0f} GiB (--gpus-per-trial packed)"
    return f"{words}, and {peak.gpu / 2**30:.2g} GiB of a GPU's; {fit}"


def _about(values: list[float]) -> str:
    middle, low, high = (f"{value:,.0f}" if value >= 100 else f"{value:.2g}" for value in values)
    return f"{middle} ({low} to {high})"


def _by_slots(seconds: Mapping[Node, float], unit: str, per_trial: float) -> Table:
    """Makespans on more and more GPUs (or CPUs), as long as more of them help."""
    table = Table(title="", box=None, pad_edge=False)
    for heading in (f"{unit}s", "makespan", "no order is below"):
        table.add_column(heading, justify="right")
    count, before = math.ceil(per_trial), math.inf
    while (last := makespan(seconds, seconds, int(count / per_trial))) < 0.99 * before:
        bound = lower_bound(seconds, seconds, int(count / per_trial))
        table.add_row(str(count), duration(last), duration(bound))
        count, before = 2 * count, last
    table.caption = f"More than {count // 2} do not help."
    table.caption_justify = "left"
    return table


def show_few_held_out(study: Study, console: Console) -> None:
    """Of tasks whose searches are scored on few rows."""
    for task, count in few_held_out(study).items():
        console.print(
            f"{task}: searches are scored on {count} held-out rows. That is few; their floor is uncertain."
        )


def choices_table(study: Study) -> Table:
    """Every choice in which the presets paper and paper-as-released differ, and this study's."""
    words = "\nWhere the paper's released code differs from its text or from sound practice"
    table = Table(title=words, title_justify="left", box=None, pad_edge=False)
    for heading in ("choice", "this study", "paper", "paper-as-released"):
        table.add_column(heading, no_wrap=heading == "choice", overflow="fold")
    sound, released, ours = (
        flat_choices(s) for s in (PRESETS["paper"].study, PRESETS["paper-as-released"].study, study)
    )
    for name in sound:
        if sound[name] != released[name]:
            table.add_row(f"--{name}", *(str(values[name]) for values in (ours, sound, released)))
    return table
