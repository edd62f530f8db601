"""Batches that are cut into micro-batches where memory runs out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size


@dataclass
class MicroBatch:
    """The most examples that go through a network at once. size: None as long as whole batches fit."""

    size: int | None = None

    def cut(self, rows: np.ndarray) -> list[np.ndarray]:
        """rows, (B,), in their order."""
        return np.split(rows, range(self.size, len(rows), self.size)) if self.size else [rows]

    def fits(self, rows: np.ndarray, work: Callable[..., None], *arguments: Any) -> bool:
        """Do work(rows, *arguments); False where it ran out of memory, and micro-batches are half as large
        from now on. Raises what the work raises, that a single example was too much included."""
        try:
            work(rows, *arguments)
            return True
        except RuntimeError as error:
            if len(rows) == 1 or not should_reduce_batch_size(error):
                raise
            self.size = len(rows) // 2
        # the error is gone here, and with it what it held in memory
        clear_device_cache(garbage_collection=True)
        return False


def each_once(rows: np.ndarray, micro_batch: MicroBatch, work: Callable[..., None], *arguments: Any) -> None:
    """work(part, *arguments) of all of these rows; where a part does not fit, what is left goes on in smaller
    ones."""
    while len(rows):
        first = micro_batch.cut(rows)[0]
        if micro_batch.fits(first, work, *arguments):
            rows = rows[len(first) :]


def all_or_none(
    rows: np.ndarray,
    micro_batch: MicroBatch,
    undo: Callable[[], None],
    work: Callable[..., None],
    *arguments: Any,
) -> None:
    """work(part, *arguments) of all of these rows; where a part does not fit, all is undone and done
    again."""
    while not all(micro_batch.fits(part, work, *arguments) for part in micro_batch.cut(rows)):
        undo()
