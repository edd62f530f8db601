"""The nodes that answer a study, and all that they read from outside the root."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from lottery_ray.experiment.checks import check_study
from lottery_ray.experiment.extensions import OWN_KINDS, Extension, load_extensions, load_planned
from lottery_ray.experiment.graph import Node, with_ancestors
from lottery_ray.experiment.methods import Magnitude, Structured
from lottery_ray.experiment.nodes import (
    SUPER,
    Finetune,
    NullDraws,
    NullKind,
    Pretrain,
    Rule,
    Search,
    Size,
    Start,
    Ticket,
)
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.experiment.study import (
    Choices,
    Study,
    chosen_method,
    is_own_task,
    is_possible,
    kinds_of,
    task_of,
)
from lottery_ray.inputs.data import MADE_HERE, named_data, split_table
from lottery_ray.inputs.models import named_model, pre_trained
from lottery_ray.inputs.tables import SPLITS


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
    extensions = load_extensions(study.extend)
    check_study(study)
    folders: dict[str, str] = {}
    methods = {words: chosen_method(words, study.choices) for words in study.methods}
    grid: dict[tuple[str, int, str], Search] = {}
    leaves: list[Node] = []
    for full in _fulls(study, folders):
        leaves += [full, *_other_starts(study, full)]
        for words, method in methods.items():
            search = Search(full, method, study.floor, study.search_data, study.down_to)
            grid[full.task, full.seed, words] = search
            leaves.append(search)
    for (task, seed, words), search in grid.items():
        every_seed = tuple(grid[task, other, words] for other in sorted(study.seeds))
        elsewhere = tuple(grid[other, seed, words] for other in study.tasks if other != task)
        leaves += _drawn_from(study, search, _Beside(every_seed, elsewhere))
    return Plan(with_ancestors(leaves), folders, extensions)


def _fulls(study: Study, folders: dict[str, str]) -> Iterator[Finetune]:
    """The full models, task by task. Their recipe is the study's but for the layout, which changes how
    structured tickets are retrained, and nothing else."""
    recipe = replace(study.recipe, layout=Recipe().layout)
    model = (
        Pretrain(threads=recipe.threads)
        if study.model == MADE_HERE
        else named_model(study.model, recipe.max_length, folders)
    )
    for name in study.tasks:
        task = task_of(study, name)
        data = named_data(study.data, task, folders)
        for seed in study.seeds:
            full = Finetune(name, seed, model, data, recipe, study.train_limit, held_out=study.held_out)
            yield replace(full, own_task=task if is_own_task(name) else None)


def _other_starts(study: Study, full: Finetune) -> Iterator[Finetune]:
    starts: dict[str, Start] = {"random_start": "random", "frozen": "frozen"}
    yield from (replace(full, start=starts[name]) for name in starts if name in study.baselines)


@dataclass(frozen=True)
class _Beside:
    """The searches beside one: every seed's of its task and method, itself among them, and other tasks' of
    its seed and method."""

    every_seed: tuple[Search, ...]
    elsewhere: tuple[Search, ...]


def _drawn_from(study: Study, search: Search, beside: _Beside) -> Iterator[Node]:
    """What is drawn from one search, or for super-survivors and transfer beside it from others."""
    drawn: list[Ticket] = []
    for size in study.sizes:
        for kind in kinds_of(study, search.method):
            tickets = list(_tickets(study, search, beside, kind, size))
            yield from tickets
            drawn += tickets
        if study.null_draws:
            yield from _null_draws(study, search, size)
    yield from _baselines(study, [ticket for ticket in drawn if ticket.draw == 0])


def _tickets(study: Study, search: Search, beside: _Beside, kind: str, size: Size) -> Iterator[Ticket]:
    full, method, own = search.finetune, search.method, OWN_KINDS.get(kind)
    # the released re-load error is younger than the heads-only results (protocol 6.2)
    removal = study.choices.removal if method.name == "structured" else "sound"
    gated = isinstance(method, Structured) and removal == "sound"
    recipe = replace(full.recipe, layout=study.recipe.layout if gated else Recipe().layout)
    sources: list[tuple[Search, ...]] = [(search,)]
    if kind in SUPER or (own and own.every_seed):
        sources = [beside.every_seed]
    elif kind == "transfer":
        sources = [(other,) for other in beside.elsewhere]
    rule, sha256 = _rule(kind, method, study.choices), own.sha256 if own else None
    for draw in range(study.random_draws if kind in ("random", "layer_matched") else 1):
        for source in sources:
            yield Ticket(full, source, kind, recipe, draw, size, rule, removal=removal, kind_sha256=sha256)


def _rule(kind: str, method: Structured | Magnitude, choices: Choices) -> Rule:
    structured = isinstance(method, Structured)
    if kind == "random" and structured:
        return choices.random
    if kind == "bad" and not structured and choices.bad_magnitude == "largest_removed":
        return "largest_removed"
    return choices.super_draws if kind in ("super_random", "super_bad") else "exact"


def _null_draws(study: Study, search: Search, size: Size) -> Iterator[NullDraws]:
    kinds: tuple[NullKind, ...] = ("random", "layer_matched")
    for kind in kinds:
        if is_possible(kind, search.method):
            yield NullDraws(search.finetune, search, kind, study.null_draws, size)


def _baselines(study: Study, tickets: Iterable[Ticket]) -> Iterator[Ticket]:
    """The same tickets from random weights, or trained for longer."""
    if "random_ticket" in study.baselines:
        yield from (replace(each, start="random") for each in tickets if each.kind in ("good", "random"))
    for each in tickets:
        if "longer_bad" in study.baselines and each.kind == "bad":
            yield replace(each, recipe=replace(each.recipe, epochs=2 * each.recipe.epochs))


def read_inputs(plan: Plan, say: Callable[[str], Any] = lambda words: None) -> None:
    """Read all that a plan's trials read from outside the root, as they do, extensions too; what is on the
    hub is fetched unless it is in this machine's cache. say: is told of each step.

    Raises InputError, or an OSError of the hub, if something cannot be read.
    """
    load_planned(plan.extensions)
    first = {node.task: node for node in reversed(plan.nodes) if isinstance(node, Finetune)}
    for number, (task, node) in enumerate(reversed(first.items()), 1):
        say(f"reading the model and {task}, {number} of {len(first)} tasks")
        if not isinstance(node.model, Pretrain):
            pre_trained(node.model, plan.folders)
        for split in SPLITS:
            split_table(node.data, node.definition, split, plan.folders)
