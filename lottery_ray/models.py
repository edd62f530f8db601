"""Networks that run on packed batches and can be pruned: by gates, by compaction, or weight by weight.

transformers 5 has neither head_mask nor prune_heads, so pruning is done here:

* a gate per head multiplies the input of the attention output projection, per head slice; a gate per
  MLP multiplies the MLP's output before the residual sum (section 2.3 of the paper);
* compaction cuts the same parts out of the weights, so that a pruned network costs what its size says.
  A layer without heads keeps the bias of its output projection, as the gated one does (the paper's
  released code dropped it);
* a weight mask sets single weights to zero, and training keeps them there.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, AttentionMaskInterface, AutoConfig
from transformers.models.auto import AutoModelForSequenceClassification

from lottery_ray import masks
from lottery_ray.adapters import ADAPTERS, Adapter
from lottery_ray.data import Packed
from lottery_ray.masks import Mask, Part
from lottery_ray.nodes import Precision
from lottery_ray.streams import seed
from lottery_ray.tasks import Task

PACKED = "lottery_ray_packed"

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def _attention_kernel(query: torch.Tensor) -> AbstractContextManager[Any]:
    """On a CPU plain products have a faster backward pass than the fused kernel."""
    if query.device.type == "cpu" and torch.is_grad_enabled():
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()


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
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Each example attends to itself alone. query, key, value: (1, heads, T, d); returns (1, T, heads, d)."""
    rows = [x[0].transpose(0, 1) for x in (query, key, value)]
    outputs = []
    for index, mask in zip(packing.group_index, packing.group_mask, strict=True):
        q, k, v = (x[index].transpose(1, 2) for x in rows)
        with _attention_kernel(query):
            attended = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=dropout, scale=scaling)
        outputs.append(attended.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)[packing.ungroup][None], None


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
        self.gates: Gates | None = None
        self.weight_masks: dict[str, torch.Tensor] = {}
        self._batch: Packed | None = None
        self._batch_gates: Gates | None = None
        for number, layer in enumerate(self.layers):
            self._gate_heads(number, layer.get_submodule(self.adapter.attention_output))
            self._gate_mlp(number, layer.get_submodule(self.adapter.mlp_output))
        model.get_submodule(self.adapter.head).register_forward_pre_hook(self._first_tokens)

    @property
    def layers(self) -> list[nn.Module]:
        return list(self.model.get_submodule(self.adapter.layers).children())

    @property
    def shape(self) -> tuple[int, int]:
        """(layers, heads) of the whole network."""
        config: Any = self.model.config
        return config.num_hidden_layers, config.num_attention_heads

    def forward(self, batch: Packed, gates: Gates | None = None) -> torch.Tensor:
        """Logits (B, classes). gates: in place of the network's own."""
        self._batch = batch
        self._batch_gates = gates if gates is not None else self.gates
        logits: torch.Tensor = self.model(
            input_ids=batch.input_ids,
            token_type_ids=batch.token_type_ids,
            position_ids=batch.position_ids,
            packing=batch,
        ).logits
        return logits

    def save(self, folder: Path) -> None:
        """As a Hugging Face checkpoint: config.json and model.safetensors."""
        model: Any = self.model
        model.save_pretrained(folder)

    def _first_tokens(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """(1, T, hidden) to (B, 1, hidden): what the head takes the first token of."""
        assert self._batch is not None
        return inputs[0][0, self._batch.starts][:, None], *inputs[1:]

    def _per_token(self, gate: torch.Tensor) -> torch.Tensor:
        assert self._batch is not None
        return gate if len(gate) == 1 else gate[self._batch.example]

    def _gate_heads(self, number: int, projection: nn.Module) -> None:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor | None:
            if self._batch_gates is None:
                return None
            gate = self._per_token(self._batch_gates.heads[:, number])
            (context,) = inputs
            by_head = context.view(1, context.shape[1], gate.shape[-1], -1)
            return (by_head * gate[None, :, :, None]).view(context.shape)

        projection.register_forward_pre_hook(hook)

    def _gate_mlp(self, number: int, projection: nn.Module) -> None:
        def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
            if self._batch_gates is None:
                return None
            return output * self._per_token(self._batch_gates.mlps[:, number])[None, :, None]

        projection.register_forward_hook(hook)


def adapter_of(model: nn.Module) -> Adapter:
    config: Any = model.config
    return ADAPTERS[config.model_type]


def linear(layer: nn.Module, name: str) -> nn.Linear:
    module = layer.get_submodule(name)
    assert isinstance(module, nn.Linear)
    return module


def initial(folder: Path, task: Task, node_seed: int, start: Literal["pretrained", "random"]) -> Network:
    """The network that training starts from. What the checkpoint lacks (the classifier) is drawn from
    (task, seed, "classifier"), so that it is the same for the full model and all its tickets."""
    config = AutoConfig.from_pretrained(folder, num_labels=task.labels)
    torch.manual_seed(seed(task.name, node_seed, "classifier"))
    if start == "random":
        return Network(
            AutoModelForSequenceClassification.from_config(
                config, attn_implementation=PACKED, dtype=torch.float32
            )
        )
    return Network(
        AutoModelForSequenceClassification.from_pretrained(
            folder, config=config, attn_implementation=PACKED, dtype=torch.float32
        )
    )


def load(folder: Path) -> Network:
    """A fine-tuned network, as `Network.save` left it."""
    return Network(
        AutoModelForSequenceClassification.from_pretrained(
            folder, attn_implementation=PACKED, dtype=torch.float32
        )
    )


def accelerator(precision: Precision, *, cpu: bool) -> Accelerator:
    """The one Accelerator of this process. A warm process may have had another precision before, which
    Accelerate's shared state would refuse to change."""
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=cpu, mixed_precision="bf16" if precision == "bf16" else "no")


def full_gates(heads: np.ndarray, mlps: np.ndarray, device: torch.device) -> Gates:
    """heads: bool (layers, heads), mlps: bool (layers,), as gates of 0 and 1 with one row."""
    return Gates(
        torch.tensor(heads, dtype=torch.float32, device=device)[None],
        torch.tensor(mlps, dtype=torch.float32, device=device)[None],
    )


def prune(network: Network, mask: Mask, layout: Literal["compacted", "gated"] = "compacted") -> None:
    """Apply a mask in place, for good. layout: of structured masks."""
    if mask[0].component == "weight":
        prune_weights(network, mask)
    elif layout == "gated":
        device = next(network.parameters()).device
        network.gates = full_gates(masks.heads(mask), masks.mlps(mask), device)
    else:
        compact(network, masks.heads(mask), masks.mlps(mask))


def compact(network: Network, heads: np.ndarray, mlps: np.ndarray) -> None:
    """Cut pruned heads and MLPs out. heads: bool (layers, heads); mlps: bool (layers,)."""
    adapter = network.adapter
    for layer, kept, has_mlp in zip(network.layers, heads, mlps, strict=True):
        if not kept.all():
            _cut_heads(layer, adapter, kept)
        if not has_mlp:
            layer.set_submodule(adapter.mlp, nn.Identity())
            layer.set_submodule(adapter.mlp_output, Zero())


def _cut_heads(layer: nn.Module, adapter: Adapter, kept: np.ndarray) -> None:
    output = linear(layer, adapter.attention_output)
    width = output.in_features // kept.size
    units = torch.from_numpy(np.flatnonzero(np.repeat(kept, width)))
    output.weight = nn.Parameter(output.weight.detach()[:, units])
    output.in_features = len(units)
    if not kept.any():
        layer.set_submodule(adapter.attention, NoHeads())
        return
    for name in (adapter.query, adapter.key, adapter.value):
        projection = linear(layer, name)
        projection.weight = nn.Parameter(projection.weight.detach()[units])
        projection.bias = nn.Parameter(projection.bias.detach()[units])
        projection.out_features = len(units)


class NoHeads(nn.Module):
    """The self-attention of a layer that has no heads left."""

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, None]:
        return hidden_states[..., :0], None


class Zero(nn.Module):
    """The output of an MLP that is gone."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(hidden_states)


def prunable(network: Network) -> dict[str, nn.Parameter]:
    """{name in the network: parameter} of the weights that magnitude pruning ranks, layer by layer: the
    encoder's linear weights and biases. Embeddings, LayerNorms, pooler and classifier are never pruned."""
    found = {}
    for number, layer in enumerate(network.layers):
        for module in network.adapter.prunable:
            for kind in ("weight", "bias"):
                name = f"model.{network.adapter.layers}.{number}.{module}.{kind}"
                found[name] = layer.get_submodule(module).get_parameter(kind)
    return found


def prune_weights(network: Network, mask: Mask) -> None:
    """Set pruned weights to zero and remember which, in place."""
    by_name = {part.name: part for part in mask}
    with torch.no_grad():
        for name, parameter in prunable(network).items():
            kept = torch.from_numpy(by_name[name].kept).view(parameter.shape).to(parameter.device)
            network.weight_masks[name] = kept
            parameter.mul_(kept)


def weight_mask(network: Network, kept: np.ndarray) -> Mask:
    """kept: bool (weights,), over `prunable` in its order."""
    parts, start = [], 0
    per_layer = len(network.adapter.prunable) * 2
    for number, (name, parameter) in enumerate(prunable(network).items()):
        end = start + parameter.numel()
        parts.append(Part("weight", number // per_layer, name, tuple(parameter.shape), kept[start:end]))
        start = end
    return tuple(parts)


def weights_kept(network: Network, mask: Mask) -> dict[str, int]:
    """{"kept": k, "of": n}: prunable encoder weights of the whole network that a mask keeps."""
    total = sum(parameter.numel() for parameter in prunable(network).values())
    if mask[0].component == "weight":
        return masks.sizes(mask)["weight"]
    adapter, kept = network.adapter, 0
    for layer, heads, has_mlp in zip(network.layers, masks.heads(mask), masks.mlps(mask), strict=True):
        for name in (adapter.query, adapter.key, adapter.value):
            module = linear(layer, name)
            kept += int((module.weight.numel() + module.bias.numel()) * heads.mean())
        output = linear(layer, adapter.attention_output)
        kept += int(output.weight.numel() * heads.mean()) + output.bias.numel()
        if has_mlp:
            for name in (adapter.mlp_input, adapter.mlp_output):
                kept += sum(p.numel() for p in layer.get_submodule(name).parameters())
    return {"kept": kept, "of": total}
