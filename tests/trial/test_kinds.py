"""Every kind of node on a tiny model: what its mask is, and what its record says.

One small study with everything in it, run in this process; the model is a tiny BERT with random weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from lottery_ray.errors import InputError
from lottery_ray.experiment import masks, search
from lottery_ray.experiment.graph import Node, key, node_title
from lottery_ray.experiment.masks import Mask, read_masks
from lottery_ray.experiment.methods import Magnitude, Structured
from lottery_ray.experiment.nodes import Finetune, NullDraws, Search, Ticket
from lottery_ray.experiment.plan import Plan, plan
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.experiment.study import RELEASED, Study
from lottery_ray.inputs.data import split_table
from lottery_ray.inputs.tasks import TASKS, task_score
from lottery_ray.networks.export import export_ticket
from lottery_ray.networks.pruning import prunable
from lottery_ray.networks.weights import load_network
from lottery_ray.storage.store import Record, Store
from lottery_ray.trial.node import run_node
from lottery_ray.trial.settings import TrialSettings
from tests.folders import data_folder, pretrained_folder

EVERYTHING = Study(
    tasks=("mrpc",),
    seeds=(1, 2),
    kinds=("good", "random", "layer_matched", "bad", "pretrained", "super", "super_random", "super_bad"),
    sizes=("stopping", 0.5),
    null_draws=3,
    baselines=("random_start", "frozen", "random_ticket", "longer_bad"),
    held_out=0.25,
    search_data="held_out",
    down_to=0.4,
    floor=0.5,
    recipe=Recipe(epochs=1, batch_size=8, learning_rate=1e-3),
)


@dataclass(frozen=True)
class Done:
    """A study that was run, with its records."""

    plan: Plan
    root: str
    records: dict[Node, Record]

    def tickets(self, **labels: object) -> Iterator[Ticket]:
        for node in self.plan.nodes:
            if isinstance(node, Ticket) and labels.items() <= self.records[node].labels.items():
                yield node

    def mask(self, node: Node, name: str = "mask.arrow") -> Mask:
        path = Store.open(self.root).fetch(self.records[node], name)
        return masks.from_table(read_masks(path))

    def good(self, node: Ticket) -> Mask:
        """The good mask of its task and seed at its size."""
        labels = self.records[node].labels
        same = {name: labels[name] for name in ("task", "seed", "method", "size")}
        return self.mask(next(self.tickets(kind="good", start="pretrained", **same)))


def finish(study: Study, folder: Path, root: Path) -> Done:
    planned = plan(replace(study, model=str(folder / "a model"), data=str(folder / "some data")))
    Store.open(str(root), create=True)
    records = {
        node: run_node(node, TrialSettings(str(root), planned.folders, cpu=True, keep_retrained=True))
        for node in planned.nodes
    }
    return Done(planned, str(root), records)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("the inputs")
    pretrained_folder(folder / "a model")
    data_folder(folder / "some data", "mrpc", "rte")
    return folder


@pytest.fixture(scope="module")
def done(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    return finish(EVERYTHING, folder, tmp_path_factory.mktemp("everything") / "a root")


@pytest.fixture(scope="module")
def released(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    study = replace(
        EVERYTHING,
        kinds=("good", "random", "bad", "super_random", "super_bad"),
        sizes=("stopping",),
        choices=RELEASED,
        baselines=(),
        null_draws=0,
        held_out=0.0,
        search_data="train_subset",
        down_to=1.0,
    )
    return finish(study, folder, tmp_path_factory.mktemp("released") / "a root")


def same(a: Mask, b: Mask) -> bool:
    return all(np.array_equal(p.kept, q.kept) for p, q in zip(a, b, strict=True))


def per_layer(mask: Mask) -> dict[tuple[str, int], int]:
    counts: dict[tuple[str, int], int] = {}
    for part in mask:
        place = part.component, part.layer
        counts[place] = counts.get(place, 0) + int(part.kept.sum())
    return counts


def test_every_node_has_a_record_and_a_title_of_its_own(done: Done) -> None:
    assert len({node_title(node) for node in done.plan.nodes}) == len(done.plan.nodes) > 100


def test_tickets_have_exactly_the_size_they_are_named_after(done: Done) -> None:
    for node in done.tickets():
        sizes = done.records[node].result["sizes"]
        if node.kind.startswith("super"):
            continue
        assert sizes == masks.sizes(done.good(node)), node_title(node)
        if node.size == 0.5:
            assert all(size["kept"] == round(0.5 * size["of"]) for size in sizes.values())


def test_layer_matched_tickets_have_the_good_ones_profile(done: Done) -> None:
    found = list(done.tickets(kind="layer_matched"))
    assert found
    for node in found:
        assert per_layer(done.mask(node)) == per_layer(done.good(node))
    # and its components are not good's own, at the same size of which there are many masks
    half = done.tickets(kind="layer_matched", method="magnitude", size="0.5")
    assert not any(same(done.mask(node), done.good(node)) for node in half)


def test_bad_shares_with_good_what_its_size_forces(done: Done) -> None:
    for node in done.tickets(kind="bad"):
        result = done.records[node].result
        assert result["overlap_with_good"] == result["forced_overlap"]
    half = done.tickets(kind="random", method="magnitude", size="0.5")
    random = [done.records[node].result for node in half]
    assert all(r["overlap_with_good"]["weight"] > r["forced_overlap"]["weight"] for r in random)


def test_the_pretrained_control_keeps_the_largest_pretrained_weights(done: Done, folder: Path) -> None:
    weights = load_file(folder / "a model" / "model.safetensors")
    found = list(done.tickets(kind="pretrained", size="0.5"))
    assert found
    for node in found:
        assert node.sources[0].method == Magnitude()
        kept = {part.name.removeprefix("model.bert."): part for part in done.mask(node)}
        sizes = {name: weights[name].numpy().ravel() for name in kept}
        every = np.abs(np.concatenate(list(sizes.values())))
        chosen = np.concatenate([kept[name].kept for name in sizes])
        assert every[chosen].min() >= every[~chosen].max()


def test_super_survivors_are_kept_in_every_seed(done: Done) -> None:
    for node in done.tickets(kind="super"):
        labels = done.records[node].labels
        same_size = {name: labels[name] for name in ("task", "method", "size")}
        goods = [done.mask(g) for g in done.tickets(kind="good", start="pretrained", **same_size)]
        assert len(goods) == 2
        every = tuple(replace(p, kept=p.kept & q.kept, score=None) for p, q in zip(*goods, strict=True))
        assert same(done.mask(node), every)
        assert done.records[node].parents.keys() >= {key(source) for source in node.sources}
    per_seed = [done.mask(node) for node in done.tickets(kind="super_random", method="magnitude")]
    assert not same(per_seed[0], per_seed[1])


def test_controls_retrain_the_very_same_mask(done: Done) -> None:
    controls = [
        n for n in done.tickets() if n.start == "random" or n.recipe.epochs != n.finetune.recipe.epochs
    ]
    assert {node.kind for node in controls} == {"good", "random", "bad"}
    for node in controls:
        twin = replace(node, start="pretrained", recipe=node.finetune.recipe)
        assert same(done.mask(node), done.mask(twin))
        ours, theirs = done.records[node].result, done.records[twin].result
        assert ours["pruned"] == theirs["pruned"]
    retrained = {done.records[n].artifacts["retrained/model.safetensors"] for n in controls}
    twins = [replace(n, start="pretrained", recipe=n.finetune.recipe) for n in controls]
    assert not retrained & {done.records[n].artifacts["retrained/model.safetensors"] for n in twins}


def test_a_transferred_ticket_is_the_good_one_of_another_task(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    study = replace(
        EVERYTHING,
        tasks=("mrpc", "rte"),
        seeds=(1,),
        methods=("structured",),
        kinds=("good", "transfer"),
        sizes=("stopping",),
        null_draws=0,
        baselines=(),
    )
    done = finish(study, folder, tmp_path_factory.mktemp("transfer") / "a root")
    moved = list(done.tickets(kind="transfer"))
    assert {(n.finetune.task, done.records[n].labels["source"]) for n in moved} == {
        ("mrpc", "rte"),
        ("rte", "mrpc"),
    }
    for node in moved:
        good = next(done.tickets(kind="good", task=node.sources[0].finetune.task))
        assert same(done.mask(node), done.mask(good))


def test_null_draws_are_scored_beside_the_good_ticket(done: Done) -> None:
    nulls = [node for node in done.plan.nodes if isinstance(node, NullDraws)]
    assert len(nulls) == 2 * 2 * 2 * 2
    for node in nulls:
        labels = done.records[node].labels
        place = {name: labels[name] for name in ("task", "seed", "method", "size")}
        good = next(done.tickets(kind="good", start="pretrained", **place))
        result = done.records[node].result
        assert len(result["scores"]) == 3
        assert result["good"] == pytest.approx(done.records[good].result["pruned"], abs=1e-6)
        if isinstance(node.source.method, Structured):
            table = read_masks(Store.open(done.root).fetch(done.records[node], "nulls.arrow"))
            rows = len(table) // 3
            drawn = [masks.from_table(table.slice(n * rows, rows)) for n in range(3)]
            sizes = {str(masks.sizes(mask)) for mask in drawn}
            assert sizes == {str(masks.sizes(done.mask(good)))}


def test_more_null_draws_add_to_fewer(done: Done) -> None:
    node = next(node for node in done.plan.nodes if isinstance(node, NullDraws))
    fewer = run_node(replace(node, draws=2), TrialSettings(done.root, done.plan.folders, cpu=True))
    assert fewer.result["scores"] == done.records[node].result["scores"][:2]


def test_searches_are_scored_on_rows_that_nothing_is_trained_on(done: Done, released: Done) -> None:
    rows = 24
    for node, record in done.records.items():
        if isinstance(node, Finetune):
            assert record.result["train_examples"] == rows - 6
        if isinstance(node, Search):
            assert record.result["examples"] == 6
    examples = {r.result["examples"] for n, r in released.records.items() if isinstance(n, Search)}
    assert examples == {12}, "as many as the dev set has"


def test_a_frozen_encoder_is_not_trained(done: Done) -> None:
    scores = {
        node.start: record.result["score"]
        for node, record in done.records.items()
        if isinstance(node, Finetune) and (node.task, node.seed) == ("mrpc", 1)
    }
    assert set(scores) == {"pretrained", "random", "frozen"}


def test_states_hold_every_step_of_a_search(done: Done) -> None:
    for node, record in done.records.items():
        if isinstance(node, Search) and isinstance(node.method, Structured):
            table = read_masks(Store.open(done.root).fetch(record, "states.arrow"))
            steps = record.result["steps"]
            for number, step in enumerate(steps):
                state = masks.from_table(table.filter(pc.equal(table["step"], number)))
                kept = {name: size["kept"] for name, size in masks.sizes(state).items()}
                assert kept == step["kept"]
                assert masks.head_scores(state).shape == (3, 4)
            last = search.path([step["phase"] for step in steps])[-1]
            assert max(steps[last]["kept"]["heads"] / 12, steps[last]["kept"]["mlp"] / 3) <= 0.4


def test_released_choices_are_in_the_masks(released: Done) -> None:
    for node in released.tickets(kind="bad", method="magnitude"):
        folder = Path(released.root) / "nodes" / key(node.finetune) / released.records[node.finetune].attempt
        network = load_network(folder)
        weights = {n: p.detach().abs().numpy().ravel() for n, p in prunable(network).items()}
        every = np.concatenate(list(weights.values()))
        chosen = np.concatenate([part.kept for part in released.mask(node)])
        assert every[chosen].max() <= every[~chosen].min(), "the smallest are kept"
    bad = [released.mask(node) for node in released.tickets(kind="super_bad", method="structured")]
    assert same(bad[0], bad[1]), "one draw for all seeds"
    rules = {(node.kind, node.sources[0].method.name): node.rule for node in released.tickets()}
    assert rules["random", "structured"] == "bernoulli"
    assert rules["random", "magnitude"] == "exact"


def test_a_released_reload_loses_the_attention_of_layers_with_half_their_heads(released: Done) -> None:
    lost = 0
    for node in released.tickets(method="structured"):
        heads = masks.heads(released.mask(node)).sum(axis=1)
        folder = Path(released.root) / "nodes" / key(node) / released.records[node].attempt / "retrained"
        weights = load_file(folder / "model.safetensors")
        for layer, kept in enumerate(heads):
            name = f"bert.encoder.layer.{layer}.attention.output.dense.bias"
            gone = not weights[name].any()
            assert gone == (kept in (0, 2)), (layer, kept)
            lost += gone
    assert lost


# Exports


@pytest.mark.parametrize("method", ["structured", "magnitude"])
@pytest.mark.parametrize("retrained", [False, True])
def test_an_exported_ticket_loads_anywhere_and_scores_the_same(
    done: Done, folder: Path, tmp_path: Path, method: str, retrained: bool
) -> None:
    node = next(done.tickets(kind="random", method=method, size="0.5", task="mrpc", start="pretrained"))
    record = export_ticket(done.root, key(node), tmp_path / "a ticket", retrained=retrained)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "a ticket").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "a ticket")
    task = TASKS["mrpc"]
    rows = split_table(node.finetune.data, task, "validation", done.plan.folders)
    texts = [rows[name].to_pylist() for name in task.text]
    with torch.no_grad():
        logits = model(**tokenizer(*texts, padding=True, return_tensors="pt")).logits.numpy()
    name = "retrained" if retrained else "pruned"
    predictions = pa.ipc.open_file(Store.open(done.root).fetch(record, f"{name}.arrow")).read_all()
    assert np.allclose(logits, np.array(predictions["logits"].to_pylist()), atol=1e-5)
    assert task_score(task.metric, rows["label"].to_numpy(), logits) == record.result[name]


def test_what_cannot_be_exported_is_refused(done: Done, tmp_path: Path) -> None:
    search_node = next(node for node in done.plan.nodes if isinstance(node, Search))
    with pytest.raises(InputError, match="is a search, not a ticket"):
        export_ticket(done.root, key(search_node), tmp_path / "x", retrained=False)
    with pytest.raises(InputError, match="holds no node"):
        export_ticket(done.root, "0" * 16, tmp_path / "x", retrained=False)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a file").touch()
    with pytest.raises(InputError, match="is there already"):
        export_ticket(done.root, key(search_node), tmp_path / "full", retrained=False)
