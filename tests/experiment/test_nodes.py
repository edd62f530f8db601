"""Identity: what changes a key, what must never change one, and the order of the graph."""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from lottery_ray import streams
from lottery_ray.experiment import nodes
from lottery_ray.experiment.graph import Node, key, labels, node_title, parents, stage, with_ancestors
from lottery_ray.experiment.methods import METHODS, Magnitude, Structured
from lottery_ray.experiment.nodes import Finetune, Pretrain, Search, Ticket
from lottery_ray.experiment.plan import plan
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.experiment.study import PRESETS, Study
from lottery_ray.identity import before, identity
from lottery_ray.inputs.architectures import ADAPTERS, Architecture
from lottery_ray.inputs.data import FolderData, HubData
from lottery_ray.inputs.language import Language
from lottery_ray.inputs.models import FolderModel, HubModel
from lottery_ray.inputs.tasks import TASKS
from tests.places import CHECKOUT

FULL = Finetune("sst2", 42, FolderModel("ab" * 32), FolderData("cd" * 32))
HUB = Finetune(
    "mnli",
    1337,
    HubModel("google-bert/bert-base-uncased", "86b5e0934494bd15c9632b12f734a8a67f723594"),
    HubData("nyu-mll/glue", "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"),
    Recipe(precision="bf16"),
    3_200,
    "random",
)
EMBEDDED = Finetune("similarity", 1, Pretrain(), Language())
STRUCTURED, MAGNITUDE = Search(FULL, Structured()), Search(FULL, Magnitude())
TICKET = Ticket(FULL, (STRUCTURED,), "random")

# These must never change: they name the folders of results that exist. A new field states the value
# that means the old behaviour (`before`), and these stay as they are. They changed once, when training
# came to draw dropout otherwise and `Finetune.VERSION` rose to 2.
GOLDEN: dict[str, Node] = {
    "5fe1f3ee8c3c3fad": Pretrain(),
    "148f3f88ddb66e35": FULL,
    "45502433886d7eba": HUB,
    "013bf26b44d1b026": STRUCTURED,
    "f0ea563967522fa1": MAGNITUDE,
    "ccb65bd2d0c05a81": Ticket(FULL, (STRUCTURED,), "good"),
    "f75310d9ec04451e": TICKET,
    "728a67560b1f9ceb": Ticket(FULL, (STRUCTURED,), "bad"),
    "394dd20c044e4902": Ticket(FULL, (MAGNITUDE,), "random", draw=1),
}


@pytest.mark.parametrize(("expected", "node"), GOLDEN.items(), ids=map(node_title, GOLDEN.values()))
def test_keys_never_change(expected: str, node: Node) -> None:
    assert key(node) == expected


@dataclasses.dataclass(frozen=True)
class Old:
    task: str = "sst2"


@dataclasses.dataclass(frozen=True)
class New:
    task: str = "sst2"
    clip: float = before(1.0)


def test_a_later_field_leaves_old_identities_alone() -> None:
    assert identity(New()) | {"type": "Old"} == identity(Old())
    assert identity(New(clip=2.0)) == {"type": "New", "task": "sst2", "clip": 2.0}


def test_an_identity_holds_every_field_with_its_default_and_the_version() -> None:
    found = identity(Ticket(FULL, (STRUCTURED,), "good"))
    assert found == {
        "type": "Ticket",
        "version": 1,
        "finetune": key(FULL),
        "sources": [key(STRUCTURED)],
        "kind": "good",
        "recipe": identity(Recipe()),
        "draw": 0,
    }


SAMPLES: dict[str, Any] = {
    "task": "mrpc",
    "model": HubModel("a/b", "0" * 40),
    "data": HubData("a/b", "0" * 40),
    "train_limit": 100,
    "start": "random",
    "language": Language(seed=1),
    "finetune": dataclasses.replace(FULL, seed=43),
    "method": Magnitude(),
    "sources": (MAGNITUDE,),
    "kind": "bad",
    "precision": "bf16",
    "layout": "gated",
    "recipe": Recipe(epochs=9),
    "sha256": "ef" * 32,
    "name": "c/d",
    "commit": "1" * 40,
    "components": "mlps",
    "importance": "cumulative",
    "layer_norm": "survivors",
    "later_phases": "released",
    "last_head": "kept",
    "max_steps": 30,
    "size": 0.5,
    "rule": "bernoulli",
    "removal": "released",
    "source": MAGNITUDE,
    "own_task": TASKS["mrpc"],
    "architecture": Architecture("bert", ADAPTERS["bert"]),
    "criterion": "fisher",
    "criterion_sha256": "ab" * 32,
    "kind_sha256": "ab" * 32,
}


def other(name: str, value: Any) -> Any:
    """Another value for a field."""
    if name in SAMPLES:
        return SAMPLES[name]
    if isinstance(value, tuple):
        return (value[0] + 1, *value[1:])
    assert isinstance(value, int | float), name
    return value + 1


def changes(value: Any) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(value):
        changed = other(field.name, getattr(value, field.name))
        assert changed != getattr(value, field.name), field.name
        yield field.name, dataclasses.replace(value, **{field.name: changed})


def changed_nodes() -> Iterator[tuple[str, Node, Node]]:
    """(what was changed, node, changed node) for every field of every part that a node is made of."""
    for node in (Pretrain(), FULL, STRUCTURED, TICKET):
        for name, changed in changes(node):
            yield f"{type(node).__name__}.{name}", node, changed
    hub = dataclasses.replace(FULL, model=HubModel("a", "0"), data=HubData("a", "0"))
    for node, part in (
        (FULL, "recipe"),
        (FULL, "model"),
        (FULL, "data"),
        (hub, "model"),
        (hub, "data"),
        (EMBEDDED, "model"),
        (EMBEDDED, "data"),
        (Pretrain(), "language"),
        (STRUCTURED, "method"),
        (MAGNITUDE, "method"),
        (TICKET, "recipe"),
    ):
        inner = getattr(node, part)
        for name, changed in changes(inner):
            if isinstance(inner, HubModel) and name == "name":
                continue  # where to find the commit, which is the identity
            label = f"{type(node).__name__}.{part}({type(inner).__name__}).{name}"
            yield label, node, dataclasses.replace(node, **{part: changed})


CHANGED = list(changed_nodes())


@pytest.mark.parametrize(("node", "changed"), [row[1:] for row in CHANGED], ids=[row[0] for row in CHANGED])
def test_every_field_changes_the_key(node: Node, changed: Node) -> None:
    assert key(node) != key(changed)


def test_a_changed_parent_changes_all_that_stands_on_it() -> None:
    chain: list[list[Node]] = []
    for steps in (100, 101):
        full = Finetune("similarity", 1, Pretrain(steps=steps), Language())
        search = Search(full, Structured())
        chain.append([full.model, full, search, Ticket(full, (search,), "good")])  # type: ignore[list-item]
    assert not {key(node) for node in chain[0]} & {key(node) for node in chain[1]}


def test_two_kinds_of_model_with_the_same_fields_are_not_the_same() -> None:
    search = [Search(FULL, method) for method in (Structured(), Magnitude())]
    assert key(search[0]) != key(search[1])
    hub = [dataclasses.replace(FULL, model=model) for model in (HubModel("a", "b"), FolderModel("a"))]
    assert key(hub[0]) != key(hub[1])


def test_equal_nodes_have_equal_keys_however_their_numbers_are_spelled() -> None:
    # a key that depended on which of two equal nodes was asked for first would differ between processes
    for one, another in (
        (STRUCTURED, dataclasses.replace(STRUCTURED, floor=1.0)),
        (FULL, dataclasses.replace(FULL, recipe=Recipe(clip=1.0, weight_decay=0.0))),
    ):
        whole = (
            dataclasses.replace(one, floor=1)
            if isinstance(one, Search)
            else dataclasses.replace(one, recipe=Recipe(clip=1, weight_decay=0))
        )
        assert whole == another
        assert key(whole) == key(another)


def test_parents_are_the_nodes_that_are_read() -> None:
    search = Search(EMBEDDED, Structured())
    assert parents(Pretrain()) == ()
    assert parents(FULL) == ()
    assert parents(EMBEDDED) == (Pretrain(),)
    assert parents(search) == (EMBEDDED, Pretrain())
    assert parents(Ticket(EMBEDDED, (search,), "bad")) == (EMBEDDED, Pretrain(), search)


def test_ancestors_come_first_and_once() -> None:
    search = Search(EMBEDDED, Structured())
    tickets = [Ticket(EMBEDDED, (search,), kind) for kind in nodes.KINDS]
    assert with_ancestors(tickets) == (Pretrain(), EMBEDDED, search, *tickets)
    for study in (PRESETS["demo"].study, PRESETS["paper"].study):
        planned = plan(study).nodes
        assert len(set(planned)) == len(planned)
        place = {node: index for index, node in enumerate(planned)}
        assert all(place[parent] < place[node] for node in planned for parent in parents(node))


def test_the_papers_grid_is_405_nodes() -> None:
    stages = [stage(node) for node in plan(PRESETS["paper"].study).nodes]
    assert {name: stages.count(name) for name in set(stages)} == {"finetune": 45, "search": 90, "ticket": 270}
    assert len({key(node) for node in plan(PRESETS["paper"].study).nodes}) == 405


SMALL = Study(tasks=("mrpc",), seeds=(1,), methods=("structured",), kinds=("good",), down_to=0.3)


@pytest.mark.parametrize(
    "more",
    [
        {"tasks": ("rte", "mrpc")},
        {"seeds": (2, 1)},
        {"methods": ("magnitude", "structured")},
        {"kinds": ("random", "good", "bad")},
        {"kinds": ("good", "random"), "random_draws": 3},
        {"baselines": ("random_start", "frozen", "random_ticket")},
        {"sizes": ("stopping", 0.5, 0.3)},
        {"null_draws": 100},
        {"methods": ("structured", "heads", "mlps")},
        {"kinds": ("good", "layer_matched", "bad"), "baselines": ("longer_bad",)},
        {"tasks": ("rte", "mrpc"), "kinds": ("good", "transfer")},
    ],
)
def test_a_larger_study_only_adds_nodes(more: dict[str, Any]) -> None:
    small, large = (
        {key(node) for node in plan(study).nodes} for study in (SMALL, dataclasses.replace(SMALL, **more))
    )
    assert small < large


def test_the_order_of_seeds_is_no_part_of_a_study() -> None:
    asked = dataclasses.replace(SMALL, kinds=("good", "super", "super_random"), seeds=(1, 2, 3))
    turned = dataclasses.replace(asked, seeds=(3, 1, 2))
    assert set(plan(asked).nodes) == set(plan(turned).nodes)


def test_every_node_has_a_title_of_its_own() -> None:
    study = dataclasses.replace(
        PRESETS["demo"].study,
        methods=METHODS,
        kinds=nodes.KINDS,
        sizes=("stopping", 0.5),
        random_draws=2,
        null_draws=5,
        baselines=("random_start", "frozen", "random_ticket", "longer_bad"),
        down_to=0.5,
    )
    titles = [node_title(node) for node in plan(study).nodes]
    assert len(set(titles)) == len(titles) > 500


def test_labels_name_what_a_ticket_is_scored_on() -> None:
    elsewhere = dataclasses.replace(FULL, task="mrpc", seed=7)
    ticket = Ticket(elsewhere, (MAGNITUDE,), "random", draw=2)
    assert labels(ticket) == {
        "stage": "ticket",
        "task": "mrpc",
        "seed": 7,
        "method": "magnitude",
        "kind": "random",
        "draw": 2,
        "start": "pretrained",
        "size": "stopping",
        "source": None,
        "epochs": 3,
    }
    assert node_title(ticket) == "ticket mrpc seed 7 magnitude random 2"


def test_streams_depend_on_their_names_alone() -> None:
    names = [
        ("sst2", 1, "order", 0),
        ("sst2", 1, "order", 1),
        ("sst2", 2, "order", 0),
        ("sst2", 1, "dropout", 0),
    ]
    first = [streams.generator(*name).random(4) for name in names]
    np.random.default_rng(0).random(100)
    again = [streams.generator(*name).random(4) for name in reversed(names)][::-1]
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert len({row.tobytes() for row in first}) == len(names)
    assert len({streams.seed(*name) for name in names}) == len(names)


def test_names_of_streams_do_not_run_together() -> None:
    spelled = [("a", "bc"), ("ab", "c"), ("abc",), ("a", 1), ("a", "1"), ("a1",)]
    assert len({streams.seed(*name) for name in spelled}) == len(spelled)
    assert all(0 <= streams.seed(*name) < 2**63 for name in spelled)


def test_keys_and_streams_are_the_same_in_another_process() -> None:
    code = (
        "from lottery_ray import streams\n"
        "from lottery_ray.experiment import plan, study\n"
        "keys = [n.key for n in plan.plan(study.PRESETS['demo'].study).nodes]\n"
        "print(streams.seed('a', 1), *keys)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=CHECKOUT, check=True
    )
    here = [key(node) for node in plan(PRESETS["demo"].study).nodes]
    assert done.stdout.split() == [str(streams.seed("a", 1)), *here]
