"""Training without the embeddings of words that do not occur.

Of a pre-trained vocabulary most tasks use a part, and of a small BERT's weights half are word embeddings.
Those of the other words get no gradient, and AdamW, which would go through them at every step all the same,
does not move them unless it decays weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from lottery_ray.experiment.recipe import Recipe
from lottery_ray.inputs.encoding import Encoded
from lottery_ray.networks.network import Network


def occurring(encoded: Encoded, size: int) -> np.ndarray:
    """bool (size,), of each word of a vocabulary."""
    found: np.ndarray = np.bincount(encoded.input_ids, minlength=size) > 0
    return found


@dataclass(frozen=True)
class Vocabulary:
    """The embeddings of a network in training, and the training set in their numbers.

    encoded: with its tokens numbered as they are in the network. embedding: the module. every, trained: the
    weights and the padding's number of all words, and of those that occur. rows: which words these are.
    Without rows the network has all of them.
    """

    encoded: Encoded
    embedding: Any
    every: tuple[nn.Parameter, int | None]
    trained: tuple[nn.Parameter, int | None]
    rows: torch.Tensor | None

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Within it the network has all embeddings."""
        self.restore()
        yield
        self.embedding.weight, self.embedding.padding_idx = self.trained

    def restore(self) -> None:
        """All embeddings, with what those that occur have learnt."""
        if self.rows is not None:
            with torch.no_grad():
                self.every[0][self.rows] = self.trained[0]
        self.embedding.weight, self.embedding.padding_idx = self.every


@contextmanager
def only_what_occurs(network: Network, encoded: Encoded, recipe: Recipe) -> Iterator[Vocabulary]:
    """Within it the network has embeddings of the training set's tokens alone. Afterwards all are back, with
    what those have learnt."""
    model: Any = network.model
    embedding = model.get_input_embeddings()
    every = embedding.weight, embedding.padding_idx
    if recipe.weight_decay or not embedding.weight.requires_grad or not network.adapter.packed:
        yield Vocabulary(encoded, embedding, every, every, None)
        return
    occurs = occurring(encoded, len(embedding.weight))
    number = np.cumsum(occurs, dtype=np.int32) - 1
    rows = torch.from_numpy(np.flatnonzero(occurs)).to(embedding.weight.device)
    weight, padding = nn.Parameter(embedding.weight.detach()[rows]), embedding.padding_idx
    trained = weight, None if padding is None or not occurs[padding] else int(number[padding])
    embedding.weight, embedding.padding_idx = trained
    found = Vocabulary(replace(encoded, input_ids=number[encoded.input_ids]), embedding, every, trained, rows)
    yield found
    found.restore()
