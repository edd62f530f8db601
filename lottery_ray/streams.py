"""Named random streams: every random number follows from what it is for, never from call order.

The full model and all its tickets share (task, seed, "classifier" | "order" | "dropout", step), as
in the paper, so that seeds pair. Mask draws come from the ticket's own key.
"""

import hashlib
import json

import numpy as np


def seed(*names: str | int) -> int:
    """A 63-bit seed for the stream with this name."""
    digest = hashlib.sha256(json.dumps(names).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*names: str | int) -> np.random.Generator:
    """A fresh NumPy generator at the start of the stream with this name."""
    return np.random.Generator(np.random.Philox(seed(*names)))
