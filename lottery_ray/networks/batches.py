"""Batches packed into one row without padding."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from lottery_ray.inputs.encoding import Encoded

WIDTH = 16
"""Attention works on groups of examples of similar length, one for so many tokens between the shortest and
the longest: fewer have more padding, and more cost more than the padding they save."""


@dataclass(frozen=True)
class Packed:
    """A batch of B examples with T tokens in all, concatenated to one row.

    input_ids, token_type_ids, position_ids: int64 (1, T). example: int64 (T,), which example a token
    belongs to. starts: int64 (B,), where each example's first token is. labels: float64 (B,).
    group_index, group_mask: for each group of b examples of similar length, the token at each place,
    int64 (b, L), and which places are filled, bool (b, 1, 1, L). ungroup: int64 (T,), where each token
    is in the groups laid out one after the other.
    """

    input_ids: torch.Tensor
    token_type_ids: torch.Tensor
    position_ids: torch.Tensor
    example: torch.Tensor
    starts: torch.Tensor
    labels: torch.Tensor
    group_index: tuple[torch.Tensor, ...]
    group_mask: tuple[torch.Tensor, ...]
    ungroup: torch.Tensor

    def to(self, device: torch.device) -> "Packed":
        def move(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(move, value))
            # from other memory than pinned, a copy to a GPU may wait for all that the GPU has yet to do
            pinned = value.pin_memory() if device.type == "cuda" else value
            return pinned.to(device, non_blocking=True)

        return replace(self, **{f.name: move(getattr(self, f.name)) for f in fields(self)})


def pack(encoded: Encoded, rows: np.ndarray) -> Packed:
    """The batch of these rows (int64 (B,)), in this order."""
    lengths = encoded.lengths[rows]
    starts = np.cumsum(lengths) - lengths
    example = np.repeat(np.arange(len(rows)), lengths)
    position = np.arange(lengths.sum()) - starts[example]
    source = (encoded.ends - encoded.lengths)[rows][example] + position
    group_index, group_mask, ungroup = _groups(lengths, starts)
    return Packed(
        input_ids=torch.from_numpy(encoded.input_ids[source].astype(np.int64))[None],
        token_type_ids=torch.from_numpy(encoded.segments[source].astype(np.int64))[None],
        position_ids=torch.from_numpy(position)[None],
        example=torch.from_numpy(example),
        starts=torch.from_numpy(starts),
        labels=torch.from_numpy(encoded.labels[rows]),
        group_index=group_index,
        group_mask=group_mask,
        ungroup=ungroup,
    )


def _groups(
    lengths: np.ndarray, starts: np.ndarray
) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...], torch.Tensor]:
    by_length = np.argsort(lengths, kind="stable")
    count = int(np.clip((lengths.max() - lengths.min()) // WIDTH, 1, len(lengths)))
    ungroup = np.empty(lengths.sum(), np.int64)
    index, masks, laid_out = [], [], 0
    for members in np.array_split(by_length, count):
        places = np.arange(lengths[members].max())
        filled = places < lengths[members][:, None]
        token = np.where(filled, starts[members][:, None] + places, 0)
        ungroup[token[filled]] = laid_out + np.flatnonzero(filled)
        laid_out += filled.size
        index.append(torch.from_numpy(token))
        masks.append(torch.from_numpy(filled)[:, None, None])
    return tuple(index), tuple(masks), torch.from_numpy(ungroup)


def batches_by_length(encoded: Encoded, size: int) -> list[np.ndarray]:
    """Rows in batches of similar length, for evaluation, where order does not matter."""
    order = np.argsort(encoded.lengths, kind="stable")
    return [order[start : start + size] for start in range(0, len(order), size)]
