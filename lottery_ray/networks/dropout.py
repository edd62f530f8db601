"""Dropout on a CPU: 32 bits of torch's generator decide on an element, in place of a call of it for each."""

import torch
from torch import nn
from torch.nn import functional as F


def dropout(x: torch.Tensor, p: float) -> torch.Tensor:
    """As torch.nn.functional.dropout, of other draws: every element is zero with probability p, to 2**-32,
    and the others are divided by 1 - p. x: float of any shape."""
    if x.device.type != "cpu" or not 0 < p < 1:
        return F.dropout(x, p)
    pairs = torch.empty((x.numel() + 1) // 2, dtype=torch.int64).random_(-(2**63), None)
    bits = pairs.view(torch.int32)[: x.numel()].view(x.shape)
    return x * (bits >= round(p * 2**32) - 2**31).to(x.dtype).mul_(1 / (1 - p))


class Dropout(nn.Dropout):
    """In place of torch's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return dropout(x, self.p) if self.training else x


def replace_dropout(model: nn.Module) -> None:
    """In place, everywhere in a model."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p))
