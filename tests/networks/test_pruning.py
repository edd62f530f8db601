"""Packing, gates, compaction and weight masks on real (tiny) BERTs."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.utils import prune as torch_prune
from transformers import BertForSequenceClassification

from lottery_ray.experiment import masks, search
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.inputs.encoding import Encoded
from lottery_ray.inputs.tasks import TASKS
from lottery_ray.networks.batches import pack
from lottery_ray.networks.network import Network, full_gates
from lottery_ray.networks.pruning import compact, prunable, prune, weight_mask, weights_kept
from lottery_ray.networks.weights import initial_network
from lottery_ray.training.loop import train
from lottery_ray.training.scoring import predict
from lottery_ray.trial.process import prepare
from tests.folders import bert_config

HEADS = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 1]], bool)
MLPS = np.array([1, 0, 1], bool)
MASK = masks.structured_mask(HEADS, MLPS)
MRPC = TASKS["mrpc"]
RECIPE = Recipe(epochs=3, batch_size=3, learning_rate=1e-3, warmup=0.2)
Make = Callable[..., Network]


def padded(encoded: Encoded, rows: np.ndarray) -> dict[str, torch.Tensor]:
    longest = encoded.lengths[rows].max()
    starts = encoded.ends - encoded.lengths
    names = ("input_ids", "token_type_ids", "attention_mask")
    batch = {name: torch.zeros(len(rows), longest, dtype=torch.long) for name in names}
    for place, row in enumerate(rows):
        span = slice(starts[row], encoded.ends[row])
        length = encoded.lengths[row]
        batch["input_ids"][place, :length] = torch.tensor(encoded.input_ids[span])
        batch["token_type_ids"][place, :length] = torch.tensor(encoded.segments[span])
        batch["attention_mask"][place, :length] = 1
    return batch


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_packed_equals_padded(
    tiny_bert: Make, encoded: Encoded, dtype: torch.dtype, tolerance: float, attention: str
) -> None:
    packed = tiny_bert(dtype)
    reference = BertForSequenceClassification._from_config(bert_config(), attn_implementation=attention)
    reference = reference.to(dtype).eval()
    reference.load_state_dict(packed.model.state_dict())
    rows = np.array([2, 0, 1, 3, 5, 4, 6])
    ours, theirs = packed(pack(encoded, rows)), reference(**padded(encoded, rows)).logits
    assert (ours - theirs).abs().max() < tolerance * theirs.abs().max()
    labels = torch.tensor(encoded.labels[rows]).long()
    for logits in (ours, theirs):
        torch.nn.functional.cross_entropy(logits, labels).backward()
    for (name, p), q in zip(packed.model.named_parameters(), reference.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, atol=tolerance * max(1.0, float(q.grad.abs().max()))), name


def test_examples_of_a_batch_do_not_see_each_other(tiny_bert: Make, encoded: Encoded) -> None:
    network = tiny_bert(torch.float64)
    together = network(pack(encoded, np.arange(7)))
    for row in range(7):
        assert torch.allclose(network(pack(encoded, np.array([row])))[0], together[row], atol=1e-12)


def test_every_gate_changes_the_output(tiny_bert: Make, encoded: Encoded) -> None:
    network, batch = tiny_bert(), pack(encoded, np.arange(7))
    full = network(batch)
    for index in np.ndindex(3, 4):
        heads = np.ones((3, 4), bool)
        heads[index] = False
        gates = full_gates(heads, np.ones(3, bool), torch.device("cpu"))
        assert (network(batch, gates) - full).abs().max() > 1e-3
    for layer in range(3):
        mlps = np.arange(3) != layer
        gates = full_gates(np.ones((3, 4), bool), mlps, torch.device("cpu"))
        assert (network(batch, gates) - full).abs().max() > 1e-3


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_gated_equals_compacted(
    tiny_bert: Make, encoded: Encoded, dtype: torch.dtype, tolerance: float
) -> None:
    gated, compacted = tiny_bert(dtype), tiny_bert(dtype)
    prune(gated, MASK, "gated")
    prune(compacted, MASK, "compacted")
    batch = pack(encoded, np.arange(7))
    assert (gated(batch) - compacted(batch)).abs().max() < tolerance * 10
    assert sum(p.numel() for p in compacted.parameters()) < sum(p.numel() for p in gated.parameters())


@pytest.mark.parametrize("heads", [np.zeros((3, 4), bool), np.ones((3, 4), bool)])
@pytest.mark.parametrize("mlps", [np.zeros(3, bool), np.ones(3, bool)])
def test_extremes_are_legal(tiny_bert: Make, encoded: Encoded, heads: np.ndarray, mlps: np.ndarray) -> None:
    gated, compacted = tiny_bert(torch.float64), tiny_bert(torch.float64)
    mask = masks.structured_mask(heads, mlps)
    prune(gated, mask, "gated")
    prune(compacted, mask, "compacted")
    batch = pack(encoded, np.arange(7))
    assert torch.allclose(gated(batch), compacted(batch), atol=1e-12)


def test_gated_and_compacted_stay_equal_through_training(tiny_bert: Make, encoded: Encoded) -> None:
    logits = {}
    for layout in ("gated", "compacted"):
        network = tiny_bert(torch.float64)
        prune(network, MASK, layout)
        accelerator = prepare(Recipe(), cpu=True)
        before = predict(network, encoded, accelerator)
        train(network, encoded, MRPC, 1, RECIPE, accelerator)
        logits[layout] = predict(network, encoded, accelerator)
        assert np.abs(logits[layout] - before).max() > 0.1
    assert np.abs(logits["gated"] - logits["compacted"]).max() < 1e-6


def test_weights_kept_counts_what_compaction_leaves(tiny_bert: Make) -> None:
    network = tiny_bert()
    expected = weights_kept(network, MASK)
    assert expected["of"] == sum(p.numel() for p in prunable(network).values())
    compact(network, HEADS, MLPS)
    left = 0
    for layer in network.layers:
        for name in network.adapter.prunable:
            try:
                left += sum(p.numel() for p in layer.get_submodule(name).parameters())
            except AttributeError:  # cut out with its parent
                continue
    assert expected["kept"] == left


def magnitude_mask(network: Network, share: float) -> masks.Mask:
    weights = torch.cat([p.detach().flatten() for p in prunable(network).values()]).abs().numpy()
    count = int(share * weights.size)
    kept = search.largest(weights, count, float(np.sort(weights)[-count]))
    return weight_mask(network, kept)


def test_pruned_weights_stay_zero_and_do_not_count_in_the_clip(tiny_bert: Make, encoded: Encoded) -> None:
    ours, theirs = tiny_bert(torch.float64), tiny_bert(torch.float64)
    mask = magnitude_mask(ours, 0.4)
    prune(ours, mask)
    by_name = {part.name: part for part in mask}
    for name, parameter in prunable(theirs).items():
        module, _, kind = name.rpartition(".")
        kept = torch.from_numpy(by_name[name].kept).view(parameter.shape)
        torch_prune.custom_from_mask(theirs.get_submodule(module), kind, kept)
    for network in (ours, theirs):
        train(network, encoded, MRPC, 1, RECIPE, prepare(Recipe(), cpu=True))
    for name, parameter in prunable(ours).items():
        kept = torch.from_numpy(by_name[name].kept).view(parameter.shape)
        assert (parameter[~kept] == 0).all()
        assert not kept.any() or (parameter[kept] != 0).any()
    accelerator = prepare(Recipe(), cpu=True)
    difference = predict(ours, encoded, accelerator) - predict(theirs, encoded, accelerator)
    assert np.abs(difference).max() < 1e-6


def test_a_structured_mask_is_active_throughout_retraining(tiny_bert: Make, encoded: Encoded) -> None:
    network = tiny_bert()
    initial = {name: p.detach().clone() for name, p in network.named_parameters()}
    prune(network, MASK, "gated")
    train(network, encoded, MRPC, 1, RECIPE, prepare(Recipe(), cpu=True))
    width = 32 // 4
    for number, layer in enumerate(network.layers):
        query = layer.get_submodule(network.adapter.heads[0]).weight
        before = initial[f"model.bert.encoder.layer.{number}.attention.self.query.weight"]
        changed = (query != before).view(4, width, -1).any(dim=(1, 2)).numpy()
        assert not (changed & ~HEADS[number]).any()
        assert (changed == HEADS[number]).all()


def test_the_classifier_depends_on_task_and_seed_alone(
    tiny_bert: Make, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("a folder")
    tiny_bert().model.bert.save_pretrained(folder)
    torch.manual_seed(1)
    first = initial_network(folder, MRPC, 42, "pretrained").model.classifier.weight
    torch.manual_seed(2)
    assert torch.equal(first, initial_network(folder, MRPC, 42, "pretrained").model.classifier.weight)
    assert not torch.equal(first, initial_network(folder, MRPC, 43, "pretrained").model.classifier.weight)
    assert not torch.equal(
        first, initial_network(folder, TASKS["rte"], 42, "pretrained").model.classifier.weight
    )
