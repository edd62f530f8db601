"""Pruning a network: by gates, by compaction, or weight by weight.

* gates of zero (networks) leave the network its size;
* compaction cuts the same parts out of the weights, so that a pruned network costs what its size says.
  A layer without heads keeps the bias of its output projection, as the gated one does (the paper's
  released code dropped it). transformers 5 has no prune_heads;
* a weight mask sets single weights to zero, and training keeps them there.
"""

from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from lottery_ray.experiment import masks
from lottery_ray.experiment.masks import Mask, Part
from lottery_ray.inputs.architectures import Adapter
from lottery_ray.networks.network import Network, full_gates, linears


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
    for layer, kept, has_mlp in zip(network.layers, heads, mlps, strict=True):
        if not kept.all():
            _cut_heads(layer, network.adapter, kept)
        if not has_mlp:
            _cut_mlp(layer, network.adapter)


def _units(layer: nn.Module, adapter: Adapter, kept: np.ndarray) -> np.ndarray:
    """bool (units,): which inputs of the attention output projection belong to kept heads."""
    (output,) = linears(layer, (adapter.attention_output,)).values()
    return np.repeat(kept, output.in_features // kept.size)


def _cut_heads(layer: nn.Module, adapter: Adapter, kept: np.ndarray) -> None:
    units = _units(layer, adapter, kept)
    columns = torch.from_numpy(np.flatnonzero(units))
    rows = torch.from_numpy(np.flatnonzero(np.tile(units, adapter.fused)))
    (output,) = linears(layer, (adapter.attention_output,)).values()
    output.weight = nn.Parameter(output.weight.detach()[:, columns])
    output.in_features = len(columns)
    attention = layer.get_submodule(adapter.attention)
    if not kept.any():
        layer.set_submodule(adapter.attention, NoHeads(attention, _within(adapter)))
        return
    for projection in linears(layer, adapter.heads).values():
        projection.weight = nn.Parameter(projection.weight.detach()[rows])
        if projection.bias is not None:
            projection.bias = nn.Parameter(projection.bias.detach()[rows])
        projection.out_features = len(rows)
    for name, value in (("num_attention_heads", int(kept.sum())), ("all_head_size", len(columns))):
        if hasattr(attention, name):
            setattr(attention, name, value)
    if adapter.position_bias is not None:
        _cut_position_bias(attention, adapter.position_bias, torch.from_numpy(np.flatnonzero(kept)))


def _within(adapter: Adapter) -> str:
    """The name of the output projection within the attention module; "" if it is elsewhere."""
    inside = adapter.attention_output.startswith(adapter.attention + ".")
    return adapter.attention_output.removeprefix(adapter.attention + ".") if inside else ""


def _cut_position_bias(attention: nn.Module, place: int, heads: torch.Tensor) -> None:
    """The bias is made once for all layers, and each takes the slices of its own heads."""

    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*inputs[:place], inputs[place][:, heads], *inputs[place + 1 :])

    attention.register_forward_pre_hook(hook)


def _cut_mlp(layer: nn.Module, adapter: Adapter) -> None:
    if adapter.mlp_output.startswith(adapter.mlp + "."):
        layer.set_submodule(adapter.mlp, Zero())
    else:
        layer.set_submodule(adapter.mlp, nn.Identity())
        layer.set_submodule(adapter.mlp_output, Zero())


class NoHeads(nn.Module):
    """The self-attention of a layer that has no heads left. output: the name of its output projection,
    which then has no inputs; "" where that is outside it."""

    def __init__(self, attention: nn.Module, output: str) -> None:
        super().__init__()
        self.output = output
        if output:
            self.add_module(output, attention.get_submodule(output))

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, None]:
        context = hidden_states[..., :0]
        return (self.get_submodule(self.output)(context) if self.output else context), None


class Zero(nn.Module):
    """The output of an MLP that is gone."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(hidden_states)


def prunable(network: Network) -> dict[str, nn.Parameter]:
    """{name in the network: parameter} of the weights that magnitude pruning ranks, layer by layer: the
    encoder's linear weights and biases. Embeddings, norms and the head are never pruned."""
    found = {}
    for number, layer in enumerate(network.layers):
        for name, module in linears(layer, network.adapter.prunable).items():
            for kind, parameter in module.named_parameters():
                found[f"model.{network.adapter.layers}.{number}.{name}.{kind}"] = parameter
    return found


def kept_weights(network: Network, mask: Mask) -> dict[str, torch.Tensor]:
    """{name: bool, of the parameter's shape} over `prunable` of the whole network: what a mask keeps."""
    if mask[0].component == "weight":
        return {part.name: torch.from_numpy(part.kept).view(part.shape) for part in mask}
    adapter = network.adapter
    found = {}
    for number, (layer, heads, has_mlp) in enumerate(
        zip(network.layers, masks.heads(mask), masks.mlps(mask), strict=True)
    ):
        units = _units(layer, adapter, heads)
        rows = torch.from_numpy(np.tile(units, adapter.fused))
        for name, module in linears(layer, adapter.prunable).items():
            for kind, parameter in module.named_parameters():
                kept = torch.ones(parameter.shape, dtype=torch.bool)
                if name in adapter.heads:
                    kept &= rows[:, None] if kind == "weight" else rows
                elif name != adapter.attention_output:
                    kept &= bool(has_mlp)
                elif kind == "weight":
                    kept &= torch.from_numpy(units)
                found[f"model.{adapter.layers}.{number}.{name}.{kind}"] = kept
    return found


def prune_weights(network: Network, mask: Mask) -> None:
    """Set pruned weights to zero and remember which, in place."""
    by_name = kept_weights(network, mask)
    with torch.no_grad():
        for name, parameter in prunable(network).items():
            kept = by_name[name].to(parameter.device)
            network.weight_masks[name] = kept
            parameter.mul_(kept)


def weight_mask(network: Network, kept: np.ndarray, scores: np.ndarray | None = None) -> Mask:
    """kept: bool (weights,), over `prunable` in its order; scores: float32 (weights,)."""
    parts, start = [], 0
    pool = prunable(network)
    per_layer = len(pool) // len(network.layers)
    for number, (name, parameter) in enumerate(pool.items()):
        end = start + parameter.numel()
        score = None if scores is None else scores[start:end]
        shape = tuple(parameter.shape)
        parts.append(Part("weight", number // per_layer, name, shape, kept[start:end], score))
        start = end
    return tuple(parts)


def weights_kept(network: Network, mask: Mask) -> dict[str, int]:
    """{"kept": k, "of": n}: prunable encoder weights of the whole network that a mask keeps."""
    if mask[0].component == "weight":
        return masks.sizes(mask)["weight"]
    kept = kept_weights(network, mask).values()
    return {"kept": sum(int(k.sum()) for k in kept), "of": sum(k.numel() for k in kept)}


def magnitudes(network: Network) -> np.ndarray:
    """float32 (weights,), |w| of the prunable ones, in the order of `prunable`."""
    weights = [parameter.detach().flatten() for parameter in prunable(network).values()]
    found: np.ndarray = torch.cat(weights).abs().cpu().numpy()
    return found
