"""Sequence classifiers on packed batches, with a gate on every head and every MLP.

A gate per head multiplies the input of the attention output projection, per head slice; a gate per MLP
multiplies the MLP's output before the residual sum (section 2.3 of the paper). transformers 5 has no
head_mask.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface

from lottery_ray.inputs.architectures import ADAPTERS, Adapter
from lottery_ray.networks.batches import Packed
from lottery_ray.networks.dropout import dropout as random_zeros
from lottery_ray.networks.dropout import replace_dropout

PACKED = "lottery_ray_packed"

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def _attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, dropout: float, scale: float | None
) -> torch.Tensor:
    """Scaled dot-product attention: q, k, v float (b, heads, L, d); mask bool, may be broadcast to
    (b, heads, L, L).

    On a CPU plain products have a faster backward pass than the fused kernel, and no row is without a place
    to attend to, which torch's own plain version looks for.
    """
    if q.device.type != "cpu" or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v, mask, dropout_p=dropout, scale=scale)
    away = torch.zeros_like(mask, dtype=q.dtype).masked_fill_(~mask, torch.finfo(q.dtype).min)
    scores = (q * (scale or q.shape[-1] ** -0.5)) @ k.transpose(2, 3) + away
    return random_zeros(scores.softmax(-1), dropout) @ v


def packed_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    packing: Packed,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Each example attends to itself alone. query, key, value: (1, heads, T, d); returns (1, T, heads, d).
    sliding_window: the distance from which on tokens do not see each other."""
    places = torch.cat([index.flatten() for index in packing.group_index])
    rows = (
        _LaidOut.apply(x[0].transpose(0, 1), places, packing.ungroup)  # type: ignore[no-untyped-call]
        for x in (query, key, value)
    )
    sizes = [index.numel() for index in packing.group_index]
    groups = zip(*(x.split(sizes) for x in rows), strict=True)
    outputs = []
    for group, index, filled in zip(groups, packing.group_index, packing.group_mask, strict=True):
        q, k, v = (x.unflatten(0, index.shape).transpose(1, 2) for x in group)
        mask = filled if sliding_window is None else _near(filled, sliding_window)
        attended = _attend(q, k, v, mask, dropout, scaling)
        outputs.append(attended.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs).index_select(0, packing.ungroup)[None], None


class _LaidOut(torch.autograd.Function):
    """The rows of x, (T, ...), at places, (P,), where row t is also at place back[t]. Of its other places,
    which fill up a group, there is no gradient."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, places: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(back)
        return x.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return gradient.index_select(0, back), None, None


def _near(filled: torch.Tensor, window: int) -> torch.Tensor:
    """bool (b, 1, L, L): filled places less than a window apart. filled: bool (b, 1, 1, L)."""
    places = torch.arange(filled.shape[-1], device=filled.device)
    near = (places[:, None] - places).abs() < window
    # an empty place far from all filled ones would have nothing to attend to, which is NaN
    return (filled & near) | ~filled.transpose(2, 3)


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, lambda *args, **kwargs: None)


@dataclass(frozen=True)
class Gates:
    """heads: float (B or 1, layers, heads); mlps: float (B or 1, layers). A row per example of a
    batch, so that one backward pass gives every example's own gradient; or one row for all."""

    heads: torch.Tensor
    mlps: torch.Tensor


class Network(nn.Module):
    """A Hugging Face sequence classifier on packed batches.

    gates: of a gated network, with one row; None for none. weight_masks: {parameter: bool, of its
    shape} of a magnitude-pruned one; pruned weights are zero and their gradients must be masked.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.adapter = adapter_of(model)
        replace_dropout(model)
        self.gates: Gates | None = None
        self.weight_masks: dict[str, torch.Tensor] = {}
        self._batch: Packed | None = None
        self._batch_gates: Gates | None = None
        self._examples = torch.empty(0)
        for number, layer in enumerate(self.layers):
            self._gate_heads(number, layer.get_submodule(self.adapter.attention_output))
            self._gate_mlp(number, layer.get_submodule(self.adapter.mlp_output))
        if self.adapter.packed:
            final = model.get_submodule(self.adapter.final) if self.adapter.final else self.layers[-1]
            final.register_forward_hook(self._pool)
        elif self._config.pad_token_id is None:
            # a decoder without one; what fills a row is masked, and must only differ from its last token
            end = self._config.eos_token_id
            self._config.pad_token_id = end[0] if isinstance(end, list) else end

    @property
    def _config(self) -> Any:
        return self.model.config

    @property
    def layers(self) -> list[nn.Module]:
        return list(self.model.get_submodule(self.adapter.layers).children())

    @property
    def shape(self) -> tuple[int, int]:
        """(layers, heads) of the whole network."""
        return self._config.num_hidden_layers, self._config.num_attention_heads

    def forward(self, batch: Packed, gates: Gates | None = None) -> torch.Tensor:
        """Logits (B, classes). gates: in place of the network's own."""
        self._batch_gates = gates if gates is not None else self.gates
        return self._packed(batch) if self.adapter.packed else self._padded(batch)

    def save(self, folder: Path) -> None:
        """As a Hugging Face checkpoint: config.json and model.safetensors."""
        model: Any = self.model
        model.save_pretrained(folder)

    def _packed(self, batch: Packed) -> torch.Tensor:
        self._batch, self._examples = batch, batch.example
        positions = batch.position_ids
        if self.adapter.positions_after_padding:
            positions = positions + self._config.pad_token_id + 1
        inputs = {"input_ids": batch.input_ids, "position_ids": positions}
        if self.adapter.token_types:
            inputs["token_type_ids"] = batch.token_type_ids
        logits: torch.Tensor = self.model(**inputs, packing=batch).logits
        return logits

    def _padded(self, batch: Packed) -> torch.Tensor:
        """The batch in its groups of similar length, padded on the right."""
        logits, examples = [], []
        for index, mask in zip(batch.group_index, batch.group_mask, strict=True):
            self._examples, filled = batch.example[index[:, 0]], mask[:, 0, 0]
            inputs = {
                "input_ids": torch.where(filled, batch.input_ids[0, index], self._config.pad_token_id),
                "attention_mask": filled.long(),
            }
            if self.adapter.token_types:
                inputs["token_type_ids"] = batch.token_type_ids[0, index] * filled
            # a decoder would keep keys and values for tokens to come
            logits.append(self.model(**inputs, use_cache=False).logits)
            examples.append(self._examples)
        return torch.cat(logits)[torch.cat(examples).argsort()]

    def _pool(self, module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        """(1, T, hidden) to (B, 1, hidden): what the head takes the first token, or the mean, of."""
        assert self._batch is not None
        tokens, starts = output[0], self._batch.starts
        if getattr(self._config, "classifier_pooling", "cls") == "mean":
            # made on the device, so that nothing waits for it
            ends = F.pad(starts, (0, 1), value=len(tokens))
            return torch.segment_reduce(tokens, "mean", lengths=ends.diff(), unsafe=True)[:, None]
        return tokens.index_select(0, starts)[:, None]

    def _per_token(self, gate: torch.Tensor) -> torch.Tensor:
        """(B or 1, ...) to (1, T, ...) of a packed batch, (b, 1, ...) of a padded one, or (1, 1, ...)."""
        if len(gate) == 1:
            return gate[None]
        return gate[self._examples].unsqueeze(0 if self.adapter.packed else 1)

    def _gate_heads(self, number: int, projection: nn.Module) -> None:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor | None:
            if self._batch_gates is None:
                return None
            gate = self._per_token(self._batch_gates.heads[:, number])
            (context,) = inputs
            by_head = context.view(*context.shape[:2], gate.shape[-1], -1)
            return (by_head * gate[..., None]).view(context.shape)

        projection.register_forward_pre_hook(hook)

    def _gate_mlp(self, number: int, projection: nn.Module) -> None:
        def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
            if self._batch_gates is None:
                return None
            return output * self._per_token(self._batch_gates.mlps[:, number])[..., None]

        projection.register_forward_hook(hook)


def adapter_of(model: nn.Module) -> Adapter:
    config: Any = model.config
    return ADAPTERS[config.model_type]


def linears(layer: nn.Module, names: tuple[str, ...]) -> dict[str, nn.Linear]:
    """{name: module} of those that the layer has."""
    modules = dict(layer.named_modules())
    found = {name: modules[name] for name in names if name in modules}
    return {name: module for name, module in found.items() if isinstance(module, nn.Linear)}


def full_gates(heads: Any, mlps: Any, device: torch.device) -> Gates:
    """heads: bool (layers, heads), mlps: bool (layers,), as gates of 0 and 1 with one row."""
    return Gates(
        torch.tensor(heads, dtype=torch.float32, device=device)[None],
        torch.tensor(mlps, dtype=torch.float32, device=device)[None],
    )
