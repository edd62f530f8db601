"""Training without the embeddings of words that do not occur.

Of a pre-trained vocabulary most tasks use a part, and of a small BERT's weights half are word embeddings.
Those of the other words get no gradient, and AdamW, which would go through them at every step all the same,
does not move them unless it decays weights.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from lottery_ray.experiment.nodes import Recipe
from lottery_ray.networks.batches import Encoded
from lottery_ray.networks.weights import Network


def occurring(encoded: Encoded, size: int) -> np.ndarray:
    """bool (size,), of each word of a vocabulary."""
    found: np.ndarray = np.bincount(encoded.input_ids, minlength=size) > 0
    return found


Whole = Callable[[], AbstractContextManager[None]]


@contextmanager
def only_what_occurs(network: Network, encoded: Encoded, recipe: Recipe) -> Iterator[tuple[Encoded, Whole]]:
    """Within it the network has embeddings of the training set's tokens alone. Gives the training set with
    its tokens numbered as they are there, and a context in which the network has all embeddings. Afterwards
    all are back, with what those have learnt."""
    model: nn.Module = network.model
    embedding = model.get_input_embeddings()  # type: ignore[operator]
    if recipe.weight_decay or not embedding.weight.requires_grad or not network.adapter.packed:
        yield encoded, nullcontext
        return
    everything, padding = embedding.weight, embedding.padding_idx
    occurs = occurring(encoded, len(everything))
    number = np.cumsum(occurs, dtype=np.int32) - 1
    rows = torch.from_numpy(np.flatnonzero(occurs)).to(everything.device)
    embedding.weight = nn.Parameter(everything.detach()[rows])
    embedding.padding_idx = None if padding is None or not occurs[padding] else int(number[padding])
    trained = embedding.weight, embedding.padding_idx

    @contextmanager
    def whole() -> Iterator[None]:
        with torch.no_grad():
            everything[rows] = trained[0]
        embedding.weight, embedding.padding_idx = everything, padding
        yield
        embedding.weight, embedding.padding_idx = trained

    yield replace(encoded, input_ids=number[encoded.input_ids]), whole
    with torch.no_grad():
        everything[rows] = trained[0]
    embedding.weight, embedding.padding_idx = everything, padding
