"""How a network is trained."""

from dataclasses import dataclass
from typing import Literal

from lottery_ray.identity import before

Layout = Literal["compacted", "gated"]
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. The defaults are the paper's (section 3; train.sh and run_glue.py)."""

    epochs: int = 3
    """Passes over the training set."""
    learning_rate: float = 2e-5
    """Highest learning rate of AdamW; it falls linearly to 0."""
    batch_size: int = 32
    """Examples per step."""
    warmup: float = 0.0
    """Share of the steps over which the learning rate rises first."""
    weight_decay: float = 0.0
    """Of AdamW, decoupled."""
    clip: float = 1.0
    """Largest l2 norm of the gradient."""
    max_length: int = 128
    """Tokens per example; longer ones are cut."""
    precision: Precision = "fp32"
    """Of training and evaluation; bf16 is faster, not equivalent."""
    layout: Layout = "compacted"
    """Retrain structured tickets with their pruned parts cut out, or multiplied by zero.
    With dropout the two draw different random numbers."""
    threads: int = 1
    """CPU threads of a process; results differ in their last bits between numbers of threads."""
    processes: int = before(1)
    """Processes of a training, which is 1: roots of version 0.1 may have others."""
