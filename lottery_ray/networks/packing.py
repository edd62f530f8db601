"""Attention on packed batches, registered with transformers: each example attends to itself alone."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface

from lottery_ray.networks.batches import Packed
from lottery_ray.networks.dropout import dropout as random_zeros

PACKED = "lottery_ray_packed"


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
