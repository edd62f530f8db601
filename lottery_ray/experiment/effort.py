"""What a node does, in examples: how many it trains on and scores. Ratios of costs follow from it."""

from dataclasses import dataclass

SCORED = 1 / 3
"""The work of scoring an example, in examples trained on: a forward pass without the two backward ones."""
PASSES = 13
"""Dev passes of a search: 6 to 23 in the paper's."""
COMPACTED = 0.7
"""The work of training a structured ticket with its pruned parts cut out, in that of the full model: .57 to
.82 of the operations for the good ones of GLUE."""


@dataclass(frozen=True)
class Rows:
    """How many rows a task has to train on, after `train_limit` and without the held-out ones, and how many
    in its dev set."""

    train: float
    dev: float


@dataclass(frozen=True)
class Examples:
    """How many examples a node reads and tokenises, trains on, scores, and scores with importance; those
    of every pass count. networks: how many it loads."""

    encoded: float = 0.0
    trained: float = 0.0
    scored: float = 0.0
    with_importance: float = 0.0
    networks: int = 1

    @property
    def cost(self) -> float:
        """About how many training examples' worth of work that is; only ratios matter."""
        return self.trained + self.scored * SCORED + self.with_importance * 2 * SCORED
