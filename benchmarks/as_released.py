"""One (task, seed) as the paper's released scripts do it (plain PyTorch and transformers, on BERT).

Everything is padded to 128 tokens and has plain attention, as the modelling file of that time had. Training
is by an AdamW that goes from parameter to parameter. The search for heads and MLPs takes the gradient of a
batch's mean loss by all parameters, and its result is cut out and scored. The one for weights prunes by
torch.nn.utils.prune at every step. A structured ticket is physically pruned (of each projection in a layer
that loses heads the rows or columns of those; attention, or both matrices of an MLP, where all of it goes); a
magnitude ticket has its mask multiplied in at every forward pass. Every step loads its network from disk.

What to look at is given: the masks of a search's steps, and those of tickets. Saving those and the retrained
networks, which the scripts did, is left out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn
from torch.nn.utils import prune
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoModelForSequenceClassification, get_linear_schedule_with_warmup
from transformers.pytorch_utils import prune_linear_layer

from lottery_ray.experiment import masks
from lottery_ray.experiment.masks import Mask
from lottery_ray.inputs.tasks import Task

LENGTH, TRAINED_BATCH, EVALUATED_BATCH = 128, 32, 64
POOL = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
COLUMNS = ("input_ids", "token_type_ids", "attention_mask", "labels")


def features(rows: pa.Table, task: Task, tokenizer: Any) -> TensorDataset:
    """Padded rows: COLUMNS."""
    texts = [rows[column].to_pylist() for column in task.text]
    tokens = tokenizer(
        *texts,
        padding="max_length",
        truncation=True,
        max_length=LENGTH,
        return_token_type_ids=True,
        return_tensors="pt",
    )
    labels = torch.tensor(rows["label"].to_pylist())
    return TensorDataset(*(tokens[name] for name in COLUMNS[:-1]), labels)


def loaded(folder: Path) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    ).eval()


def train(model: Any, rows: TensorDataset, epochs: int) -> None:
    batches = DataLoader(rows, TRAINED_BATCH, shuffle=True)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, 2e-5, eps=1e-8, weight_decay=0.0, foreach=False)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, epochs * len(batches))
    model.train()
    for _ in range(epochs):
        for batch in batches:
            model(**dict(zip(COLUMNS, batch, strict=True))).loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            model.zero_grad()
    model.eval()


@torch.no_grad()
def accuracy(model: Any, rows: TensorDataset) -> float:
    right = 0
    for batch in DataLoader(rows, EVALUATED_BATCH):
        inputs = dict(zip(COLUMNS, batch, strict=True))
        right += int((model(**inputs).logits.argmax(1) == inputs["labels"]).sum())
    return right / len(rows)


def fine_tune(start: Path, train_set: TensorDataset, dev: TensorDataset, epochs: int, into: Path) -> None:
    model = loaded(start)
    train(model, train_set, epochs)
    model.save_pretrained(into)
    accuracy(model, dev)


def structured_search(tuned: Path, dev: TensorDataset, states: Sequence[Mask], good: Mask) -> None:
    """One pass in each state, for score and importance; then the good one, cut out."""
    model = loaded(tuned)
    heads, mlps = (torch.ones(kept.shape, requires_grad=True) for kept in _both(good))
    gate(model, heads, mlps)
    for state in states:
        for one, kept in zip((heads, mlps), _both(state), strict=True):
            one.data.copy_(torch.from_numpy(kept))
            one.grad = None
        importance(model, dev, (heads, mlps))
    model = loaded(tuned)
    prune_to(model, good)
    accuracy(model, dev)


def magnitude_search(tuned: Path, dev: TensorDataset, left: Sequence[int], amount: float) -> None:
    """left: how many weights, at the start and after every step."""
    model = loaded(tuned)
    pool = prunable(model)
    accuracy(model, dev)
    for _ in left[1:]:
        prune.global_unstructured(pool, prune.L1Unstructured, amount=amount)
        accuracy(model, dev)
    assert sum(int(getattr(module, f"{name}_mask").sum()) for module, name in pool) == left[-1]


def ticket(
    tuned: Path,
    start: Path,
    train_set: TensorDataset,
    dev: TensorDataset,
    epochs: int,
    mask: Mask,
) -> None:
    """Scored pruned, and retrained."""
    model = loaded(tuned)
    prune_to(model, mask)
    accuracy(model, dev)
    model = loaded(start)
    prune_to(model, mask)
    train(model, train_set, epochs)
    accuracy(model, dev)


def gate(model: Any, heads: torch.Tensor, mlps: torch.Tensor) -> None:
    for number, layer in enumerate(model.bert.encoder.layer):

        def gated(_: nn.Module, inputs: tuple[torch.Tensor], number: int = number) -> torch.Tensor:
            by_head: torch.Tensor = inputs[0].unflatten(-1, (heads.shape[1], -1)) * heads[number, :, None]
            return by_head.flatten(-2)

        def gated_mlp(_: nn.Module, __: Any, output: torch.Tensor, number: int = number) -> torch.Tensor:
            return output * mlps[number]

        layer.attention.output.dense.register_forward_pre_hook(gated)
        layer.output.dense.register_forward_hook(gated_mlp)


def importance(model: Any, dev: TensorDataset, gates: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Of heads and of MLPs: the sum over batches of the absolute gradient, which is not reset in between."""
    totals = [torch.zeros_like(gate) for gate in gates]
    for batch in DataLoader(dev, EVALUATED_BATCH):
        model(**dict(zip(COLUMNS, batch, strict=True))).loss.backward()
        for total, gate in zip(totals, gates, strict=True):
            assert gate.grad is not None
            total += gate.grad.abs()
    return totals


def prunable(model: Any) -> list[tuple[nn.Module, str]]:
    """Layer by layer the encoder's linear weights and biases."""
    return [
        (layer.get_submodule(module), name)
        for layer in model.bert.encoder.layer
        for module in POOL
        for name in ("weight", "bias")
    ]


def prune_to(model: Any, mask: Mask) -> None:
    if mask[0].component == "weight":
        for (module, name), part in zip(prunable(model), mask, strict=True):
            prune.custom_from_mask(module, name, torch.from_numpy(part.kept).float().view(part.shape))
    else:
        cut(model, *_both(mask))


def _both(mask: Mask) -> tuple[np.ndarray, np.ndarray]:
    return masks.heads(mask), masks.mlps(mask)


@torch.no_grad()
def cut(model: Any, heads: np.ndarray, mlps: np.ndarray) -> None:
    """heads: bool (layers, heads); mlps: bool (layers,). A layer without heads keeps nothing of its attention
    but the norm."""
    for layer, kept, has_mlp in zip(model.bert.encoder.layer, heads, mlps, strict=True):
        if not kept.any():
            layer.attention.self = NoHeads()
            layer.attention.output = Norm(layer.attention.output)
        elif not kept.all():
            _cut_heads(layer.attention, kept)
        if not has_mlp:
            layer.intermediate = nn.Identity()
            layer.output = Norm(layer.output)


def _cut_heads(attention: Any, kept: np.ndarray) -> None:
    own = attention.self
    units = torch.from_numpy(np.flatnonzero(np.repeat(kept, own.attention_head_size)))
    for name in ("query", "key", "value"):
        setattr(own, name, prune_linear_layer(getattr(own, name), units))
    attention.output.dense = prune_linear_layer(attention.output.dense, units, dim=1)


class NoHeads(nn.Module):
    def forward(self, *_: Any, **__: Any) -> tuple[None, None]:
        return None, None


class Norm(nn.Module):
    """What is left of a block."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.norm = output.LayerNorm

    def forward(self, _: Any, residual: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.norm(residual)
        return normed
