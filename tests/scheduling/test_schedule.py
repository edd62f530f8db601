"""What runs next: order, repeated and failed nodes, on random graphs of real nodes."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lottery_ray.experiment.graph import Node, parents, with_ancestors
from lottery_ray.experiment.methods import Magnitude, Structured
from lottery_ray.experiment.nodes import Finetune, Search, Ticket
from lottery_ray.inputs.data import FolderData
from lottery_ray.inputs.models import FolderModel
from lottery_ray.scheduling.costs import cost
from lottery_ray.scheduling.schedule import Schedule, remaining_path

MODEL, DATA = FolderModel("m"), FolderData("d")


def nodes(tasks: tuple[str, ...] = ("mnli", "rte"), seeds: int = 2) -> tuple[Node, ...]:
    found: list[Node] = []
    for task in tasks:
        searches = tuple(
            Search(Finetune(task, seed, MODEL, DATA), method)
            for seed in range(seeds)
            for method in (Structured(), Magnitude())
        )
        found += [Ticket(search.finetune, (search,), "good") for search in searches]
        found += [Ticket(search.finetune, searches[::2], "super") for search in searches[::2]]
    return with_ancestors(found)


def test_the_longest_chain_goes_first() -> None:
    everything = nodes()
    schedule = Schedule(everything, set(), remaining_path(everything))
    first = schedule.next()
    assert isinstance(first, Finetune)
    assert first.task == "mnli"


@given(st.integers(), st.integers(1, 5))
def test_every_node_runs_once_after_its_parents(chosen: int, slots: int) -> None:
    chance = random.Random(chosen)
    everything = nodes()
    done = set(everything[: chance.randrange(3)])
    done = {node for node in done if set(parents(node)) <= done}
    schedule = Schedule(everything, done, remaining_path(everything))
    before, running, ran = set(done), list[Node](), list[Node]()
    while not schedule.ended:
        while len(running) < slots and (node := schedule.next()):
            assert set(parents(node)) <= before
            running.append(node)
        node = running.pop(chance.randrange(len(running)))
        if chance.random() < 0.2:
            schedule.again(node)
            continue
        schedule.finished(node)
        before.add(node)
        ran.append(node)
    assert sorted(map(repr, ran)) == sorted(repr(node) for node in everything if node not in done)


@given(st.integers())
def test_a_failed_node_drops_just_what_needs_it(chosen: int) -> None:
    everything, chance = nodes(), random.Random(chosen)
    schedule = Schedule(everything, set(), remaining_path(everything))
    failed = chance.choice(everything)
    gone: list[Node] = []
    finished: set[Node] = set()
    while not schedule.ended:
        node = schedule.next()
        assert node is not None
        if node == failed:
            gone = schedule.failed(node)
        else:
            schedule.finished(node)
            finished.add(node)
    assert {failed, *gone} | finished == set(everything)
    assert all(failed in with_ancestors([node]) for node in gone)
    assert not any(failed in with_ancestors([node]) for node in finished)


@pytest.mark.parametrize("held_out", [0.0, 0.1])
def test_costs_follow_the_rows(held_out: float) -> None:
    full = Finetune("mnli", 1, MODEL, DATA, held_out=held_out)
    small = Finetune("rte", 1, MODEL, DATA, held_out=held_out)
    assert cost(full) > 100 * cost(small)
    assert cost(Search(full, Structured())) == 2 * cost(Search(full, Magnitude()))
    on_held_out = Search(full, Structured(), data="held_out")
    assert (cost(on_held_out) > 0) == (held_out > 0)


def test_a_compacted_ticket_trains_for_less_long() -> None:
    full = Finetune("mnli", 1, MODEL, DATA)
    structured, magnitude = (Ticket(full, (Search(full, m),), "good") for m in (Structured(), Magnitude()))
    gated = replace(structured, recipe=replace(structured.recipe, layout="gated"))
    assert cost(structured) < cost(magnitude) == cost(gated)
