"""What a device can do at most, and the least time that a pass could take on it.

Two floors, both measured on the device: its matrix FLOPs at the rate of large matrix products in the same
precision (fp32 as torch has it by default, without TF32), and the bytes it must move at the bandwidth of a
large copy. Of training these are weights, gradients and both states of AdamW, each read and written once a
step, in fp32; of scoring and importance, all weights but the embeddings', read once a batch. Activations are
left out, so no pass reaches its floor.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.device_passes import Placed, flops, steps, timed
from lottery_ray.experiment.recipe import Precision
from lottery_ray.networks.network import Network

DTYPES: Mapping[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
REPEATS = 10
TIMES = 5
"""The fastest of so many counts."""


@dataclass(frozen=True)
class Device:
    """rates: FLOP/s of large matrix products. bandwidth: bytes/s, read and written ones added."""

    rates: Mapping[Precision, float]
    bandwidth: float


@dataclass(frozen=True)
class Roofline:
    """A batch of a pass: what it needs, what it took (seconds, the median of the rounds), and on what."""

    flops: float
    bytes: float
    seconds: float
    rate: float
    bandwidth: float

    @property
    def floor(self) -> float:
        """Seconds."""
        return max(self.flops / self.rate, self.bytes / self.bandwidth)

    @property
    def distance(self) -> float:
        """How many times its floor it took."""
        return self.seconds / self.floor

    @property
    def utilisation(self) -> float:
        """Model FLOPs per second, as a share of the measured rate."""
        return self.flops / self.seconds / self.rate


def device(side: int, copied: int) -> Device:
    """side: of the square matrices. copied: bytes."""
    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rates = {precision: 2 * side**3 / _product(side, dtype, place) for precision, dtype in DTYPES.items()}
    source = torch.randn(copied // 4, device=place)
    target = torch.empty_like(source)
    return Device(rates, 2 * copied / _fastest(lambda: target.copy_(source)))


def _product(side: int, dtype: torch.dtype, place: torch.device) -> float:
    a, b = (torch.randn(side, side, device=place, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    return _fastest(lambda: torch.mm(a, b, out=out))


def _fastest(work: Callable[[], object]) -> float:
    def repeated() -> None:
        for _ in range(REPEATS):
            work()

    return min(timed(repeated) for _ in range(1 + TIMES)) / REPEATS


def roofline(name: str, placed: Placed, seconds: float, device: Device) -> Roofline:
    """seconds: of the whole pass."""
    batches = steps(placed.subject, name)
    return Roofline(
        flops(name, placed) / batches,
        least_bytes(placed.network, training=name == "training"),
        seconds / batches,
        device.rates[placed.subject.precision],
        device.bandwidth,
    )


def least_bytes(network: Network, *, training: bool) -> int:
    """Of one batch."""
    weights = sum(parameter.numel() for parameter in network.parameters())
    if training:
        # four such arrays, read and written, of 4 bytes each
        return 4 * 2 * 4 * weights
    embeddings = [module for module in network.modules() if isinstance(module, nn.Embedding)]
    return 4 * (weights - sum(module.weight.numel() for module in embeddings))
