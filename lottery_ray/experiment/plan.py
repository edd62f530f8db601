"""The nodes that answer a study."""

from dataclasses import dataclass, field, replace

from lottery_ray import extending
from lottery_ray.experiment import checks as refusals
from lottery_ray.experiment.nodes import (
    COMPONENTS,
    SUPER,
    Finetune,
    Magnitude,
    Node,
    NullDraws,
    NullKind,
    Recipe,
    Rule,
    Search,
    Start,
    Structured,
    Ticket,
    key,
    stage,
    with_ancestors,
)
from lottery_ray.experiment.study import (
    STAGES,
    Choices,
    Study,
    base_method,
    criteria_of,
    is_own,
    is_possible,
    kinds_of,
    task_of,
)
from lottery_ray.extending import Extension
from lottery_ray.inputs import sources as inputs


@dataclass(frozen=True)
class Plan:
    """All nodes of a study, parents first, the folders that their model and data lie in
    ({identity: path}; a path is no part of a node), and the extensions that they need."""

    nodes: tuple[Node, ...]
    folders: dict[str, str] = field(default_factory=dict)
    extensions: tuple[Extension, ...] = ()


def plan(study: Study) -> Plan:
    """The nodes of a study.

    Raises InputError, saying what was wrong, where, and what would be right, for anything that can be
    known before a trial runs.
    """
    extensions = extending.load(study.extend)
    refusals.check(study)
    folders: dict[str, str] = {}
    model = inputs.model(study.model, study.recipe, folders)
    grid: Grid = {}
    leaves: list[Node] = []
    for name in study.tasks:
        task, recipe = task_of(study, name), _recipe(study, name)
        data = inputs.data(study.data, task, folders)
        for seed in study.seeds:
            full = Finetune(name, seed, model, data, recipe, study.train_limit, held_out=study.held_out)
            full = replace(full, own_task=task if is_own(name) else None)
            leaves.append(full)
            starts: dict[str, Start] = {"random_start": "random", "frozen": "frozen"}
            leaves += [replace(full, start=starts[name]) for name in starts if name in study.baselines]
            for method in study.methods:
                found = Search(
                    full, _method(method, study.choices), study.floor, study.search_data, study.down_to
                )
                grid[name, seed, method] = found
                leaves.append(found)
    for place in grid:
        leaves += _tickets(study, grid, place)
    return Plan(with_ancestors(leaves), folders, extensions)


def _recipe(study: Study, task: str) -> Recipe:
    """Of a task's full models, and but for the layout of its tickets: it changes how structured ones are
    retrained, and nothing else."""
    one = study.parallel_tasks and task not in study.parallel_tasks
    processes = 1 if one else study.recipe.processes
    return replace(study.recipe, layout=Recipe().layout, processes=processes)


Grid = dict[tuple[str, int, str], Search]
"""{(task, seed, method): search}"""


def _method(chosen: str, choices: Choices) -> Structured | Magnitude:
    name, _, criterion = chosen.partition(":")
    own = criteria_of(name)[criterion].sha256 if criterion else None
    if name == "magnitude":
        return Magnitude(choices.magnitude_step, choices.magnitude_max_steps, criterion or None, own)
    method = Structured(
        components=COMPONENTS[name],
        later_phases=choices.later_phases if name == "structured" else "accepted",
        last_head=choices.last_head if name == "heads" else "prunable",
    )
    if criterion:
        return replace(method, criterion=criterion, criterion_sha256=own)
    layer_norm = choices.layer_norm if name != "mlps" else "all"
    return replace(method, importance=choices.importance, layer_norm=layer_norm)


def _tickets(study: Study, grid: Grid, place: tuple[str, int, str]) -> list[Node]:
    """What is drawn from one search, or for super-survivors and transfer beside it from others."""
    task, seed, method = place
    search = grid[place]
    # the released re-load error is younger than the heads-only results (protocol 6.2)
    removal = study.choices.removal if base_method(method) == "structured" else "sound"
    gated = base_method(method) != "magnitude" and removal == "sound"
    layout = study.recipe.layout if gated else Recipe().layout
    every_seed = tuple(grid[task, other, method] for other in sorted(study.seeds))
    elsewhere = [(grid[other, seed, method],) for other in study.tasks if other != task]
    nodes: list[Node] = []
    for size in study.sizes:
        for kind in kinds_of(study, method):
            own = extending.KINDS.get(kind)
            of_all = kind in SUPER or (own is not None and own.every_seed)
            sources = [every_seed] if of_all else elsewhere if kind == "transfer" else [(search,)]
            for draw in range(study.random_draws if kind in ("random", "layer_matched") else 1):
                nodes += [
                    Ticket(
                        search.finetune,
                        source,
                        kind,
                        replace(search.finetune.recipe, layout=layout),
                        draw,
                        size,
                        _rule(kind, method, study.choices),
                        removal=removal,
                        kind_sha256=own.sha256 if own else None,
                    )
                    for source in sources
                ]
        if study.null_draws:
            by_layer = is_possible("layer_matched", method)
            kinds: tuple[NullKind, ...] = ("random", "layer_matched") if by_layer else ("random",)
            nodes += [NullDraws(search.finetune, search, kind, study.null_draws, size) for kind in kinds]
    return nodes + _baselines(study, nodes)


def _baselines(study: Study, nodes: list[Node]) -> list[Node]:
    """The same tickets from random weights, or trained for longer."""
    first = [node for node in nodes if isinstance(node, Ticket) and node.draw == 0]
    found: list[Node] = []
    if "random_ticket" in study.baselines:
        found += [replace(node, start="random") for node in first if node.kind in ("good", "random")]
    if "longer_bad" in study.baselines:
        longer = {node: replace(node.recipe, epochs=2 * node.recipe.epochs) for node in first}
        found += [replace(node, recipe=longer[node]) for node in first if node.kind == "bad"]
    return found


def _rule(kind: str, method: str, choices: Choices) -> Rule:
    if kind == "random" and base_method(method) != "magnitude":
        return choices.random
    if kind == "bad" and base_method(method) == "magnitude" and choices.bad_magnitude == "largest_removed":
        return "largest_removed"
    return choices.super_draws if kind in ("super_random", "super_bad") else "exact"


def count_by_stage(nodes: tuple[Node, ...], done: set[str]) -> dict[str, tuple[int, int]]:
    """{stage: (done, all)}, in the order of the graph. done: keys."""
    counts: dict[str, tuple[int, int]] = {}
    for node in sorted(nodes, key=lambda node: STAGES.index(stage(node))):
        finished, total = counts.get(stage(node), (0, 0))
        counts[stage(node)] = finished + (key(node) in done), total + 1
    return counts
