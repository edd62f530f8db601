"""Sequence classifiers on packed batches, with a gate on every head and every MLP.

A gate per head multiplies the input of the attention output projection, per head slice; a gate per MLP
multiplies the MLP's output before the residual sum (section 2.3 of the paper). transformers 5 has no
head_mask.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from torch.nn import functional as F

from lottery_ray.inputs.architectures import ADAPTERS, Adapter
from lottery_ray.networks.batches import Packed
from lottery_ray.networks.dropout import replace_dropout

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


@dataclass(frozen=True)
class Gates:
    """heads: float (B or 1, layers, heads); mlps: float (B or 1, layers). A row per example of a
    batch, so that one backward pass gives every example's own gradient; or one row for all."""

    heads: torch.Tensor
    mlps: torch.Tensor


@dataclass(frozen=True)
class Pass:
    """What a network's hooks are told of one pass through its model.

    examples: int64, which example of the batch each token is of, (T,), or each row of a padded group, (b,).
    starts: int64 (B,), where each example's first token is; None of a padded group. gates: None for none.
    """

    examples: torch.Tensor
    starts: torch.Tensor | None
    gates: Gates | None

    def by_token(self, gate: torch.Tensor) -> torch.Tensor:
        """(B or 1, ...) to (1, T, ...) of a packed batch, (b, 1, ...) of a padded group, or (1, 1, ...)."""
        if len(gate) == 1:
            return gate[None]
        return gate[self.examples].unsqueeze(1 if self.starts is None else 0)


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
        self._now: Pass | None = None
        for number, layer in enumerate(self.layers):
            heads, mlp = (
                layer.get_submodule(n) for n in (self.adapter.attention_output, self.adapter.mlp_output)
            )
            heads.register_forward_pre_hook(partial(self._gate_heads, number))
            mlp.register_forward_hook(partial(self._gate_mlp, number))
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
        gates = gates if gates is not None else self.gates
        return self._packed(batch, gates) if self.adapter.packed else self._padded(batch, gates)

    def save(self, folder: Path) -> None:
        """As a Hugging Face checkpoint: config.json and model.safetensors."""
        model: Any = self.model
        model.save_pretrained(folder)

    @contextmanager
    def _told(self, now: Pass) -> Iterator[None]:
        """The hooks know of this pass while it lasts."""
        self._now = now
        try:
            yield
        finally:
            self._now = None

    def _packed(self, batch: Packed, gates: Gates | None) -> torch.Tensor:
        positions = batch.position_ids
        if self.adapter.positions_after_padding:
            positions = positions + self._config.pad_token_id + 1
        inputs = {"input_ids": batch.input_ids, "position_ids": positions}
        if self.adapter.token_types:
            inputs["token_type_ids"] = batch.token_type_ids
        with self._told(Pass(batch.example, batch.starts, gates)):
            logits: torch.Tensor = self.model(**inputs, packing=batch).logits
        return logits

    def _padded(self, batch: Packed, gates: Gates | None) -> torch.Tensor:
        """The batch in its groups of similar length, padded on the right."""
        logits, examples = [], []
        for index, mask in zip(batch.group_index, batch.group_mask, strict=True):
            now, filled = Pass(batch.example[index[:, 0]], None, gates), mask[:, 0, 0]
            inputs = {
                "input_ids": torch.where(filled, batch.input_ids[0, index], self._config.pad_token_id),
                "attention_mask": filled.long(),
            }
            if self.adapter.token_types:
                inputs["token_type_ids"] = batch.token_type_ids[0, index] * filled
            with self._told(now):
                # a decoder would keep keys and values for tokens to come
                logits.append(self.model(**inputs, use_cache=False).logits)
            examples.append(now.examples)
        return torch.cat(logits)[torch.cat(examples).argsort()]

    def _pool(self, module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        """(1, T, hidden) to (B, 1, hidden): what the head takes the first token, or the mean, of."""
        assert self._now is not None
        assert self._now.starts is not None
        tokens, starts = output[0], self._now.starts
        if getattr(self._config, "classifier_pooling", "cls") == "mean":
            # made on the device, so that nothing waits for it
            ends = F.pad(starts, (0, 1), value=len(tokens))
            return torch.segment_reduce(tokens, "mean", lengths=ends.diff(), unsafe=True)[:, None]
        return tokens.index_select(0, starts)[:, None]

    def _gate_heads(self, number: int, module: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor | None:
        if self._now is None or self._now.gates is None:
            return None
        gate = self._now.by_token(self._now.gates.heads[:, number])
        (context,) = inputs
        by_head = context.view(*context.shape[:2], gate.shape[-1], -1)
        return (by_head * gate[..., None]).view(context.shape)

    def _gate_mlp(
        self, number: int, module: nn.Module, inputs: Any, output: torch.Tensor
    ) -> torch.Tensor | None:
        if self._now is None or self._now.gates is None:
            return None
        return output * self._now.by_token(self._now.gates.mlps[:, number])[..., None]


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
