"""The live curves of a training: loss and learning rate by step, dev score by epoch."""

from dataclasses import dataclass, field

import torch

from lottery_ray.networks.network import Network
from lottery_ray.tracking.trackers import TrackedRun
from lottery_ray.training.scoring import DevSet

POINTS = 250
"""Of a loss curve: what a screen shows. Each costs a wait for the device and a call of every tracker."""


@dataclass
class Curves:
    """Tells a node's trackers how its training goes, if it has any.

    dev: what epochs are scored on; None if they are not. The loss of a point is the mean over the examples
    since the point before; its sum stays on the device until then.
    """

    run: TrackedRun
    dev: DevSet | None = None
    _sum: torch.Tensor | float = field(default=0.0, init=False)
    _count: int = field(default=0, init=False)
    _done: int = field(default=0, init=False)

    def add(self, losses: torch.Tensor) -> None:
        """The losses of some examples, (n,)."""
        if self.run:
            self._sum = self._sum + losses.detach().sum()
            self._count += len(losses)

    def after(self, step: int, steps: int, learning_rate: float) -> None:
        """A step of so many is done, the first one being 0, with this learning rate."""
        self._done = step + 1
        if self.run and (self._done % max(1, steps // POINTS) == 0 or self._done == steps):
            self.run.log({"loss": float(self._sum) / self._count, "learning_rate": learning_rate}, self._done)
            self._sum, self._count = 0.0, 0

    @property
    def scores_epochs(self) -> bool:
        return bool(self.run) and self.dev is not None

    def after_epoch(self, network: Network) -> None:
        """An epoch is done, and another one follows. A score that fails costs a warning: untracked, the
        training would not have asked for it."""
        assert self.dev
        with self.run.guarded("dev score"):
            self.run.log({"dev_score": self.dev.score(self.dev.logits(network))}, self._done)

    def end(self, score: float) -> None:
        """All is done, with this dev score."""
        self.run.log({"dev_score": score}, self._done)
