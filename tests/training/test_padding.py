"""Training on packed batches is training on padded ones: equal without dropout, alike over seeds with it.

One pass through real weights agrees to 1e-6: tests/networks/test_real.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F
from transformers import BertForSequenceClassification, get_linear_schedule_with_warmup

from lottery_ray.experiment.recipe import Recipe
from lottery_ray.inputs import language
from lottery_ray.inputs.encoding import Encoded, encode
from lottery_ray.inputs.tasks import TASKS
from lottery_ray.networks.network import Network
from lottery_ray.networks.packing import PACKED
from lottery_ray.streams import generator, seed
from lottery_ray.training.loop import train
from lottery_ray.training.scoring import predict
from lottery_ray.trial.pretrain import make_tokenizer
from lottery_ray.trial.process import prepare
from tests.folders import bert_config

RECIPE = Recipe(epochs=6, batch_size=16, learning_rate=2e-3)
LONGEST = 32
TASK = TASKS["cola"]
SEEDS = 24
Split = tuple[Encoded, Encoded]


@pytest.fixture(scope="module")
def acceptability() -> Iterator[Split]:
    """Sentences of 3 to 15 words, good or bad ones: to train on, and to score."""
    generated = language.Language(seed=1, acceptability_rows=(160, 400))
    tables = (language.table(generated, "acceptability", split) for split in ("train", "validation"))
    found = [encode(table, TASK, make_tokenizer(), LONGEST) for table in tables]
    assert len({*found[0].lengths}) > 3
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield found[0], found[1]
    torch.set_num_threads(threads)


def network(number: int, dropout: float) -> Network:
    torch.manual_seed(number)
    config = bert_config(dropout=dropout)
    return Network(BertForSequenceClassification._from_config(config, attn_implementation=PACKED))


def packed(number: int, dropout: float, data: Encoded, recipe: Recipe = RECIPE) -> Network:
    found = network(number, dropout)
    train(found, data, TASK, number, recipe, prepare(Recipe(), cpu=True))
    return found


def padded(number: int, dropout: float, data: Encoded, recipe: Recipe = RECIPE) -> Network:
    """The usual loop, on batches of LONGEST tokens each."""
    found = network(number, dropout)
    model = BertForSequenceClassification._from_config(
        bert_config(dropout=dropout), attn_implementation="eager"
    )
    model.load_state_dict(found.model.state_dict())
    steps = recipe.epochs * len(data) // recipe.batch_size
    optimizer = torch.optim.AdamW(model.parameters(), recipe.learning_rate, eps=1e-8, weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, steps)
    ids, attended = (torch.zeros(len(data), LONGEST, dtype=torch.long) for _ in range(2))
    for row, (end, length) in enumerate(zip(data.ends, data.lengths, strict=True)):
        ids[row, :length] = torch.tensor(data.input_ids[end - length : end])
        attended[row, :length] = 1
    model.train()
    torch.manual_seed(seed("padded", number))
    for epoch in range(recipe.epochs):
        order = generator(TASK.name, number, "order", epoch).permutation(len(data))
        for rows in np.split(order, len(data) // recipe.batch_size):
            logits = model(input_ids=ids[rows], attention_mask=attended[rows]).logits
            F.cross_entropy(logits, torch.tensor(data.labels[rows]).long()).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    found.model.load_state_dict(model.state_dict())
    return found


def test_without_dropout_it_ends_at_the_same_network(acceptability: Split) -> None:
    data, dev = acceptability
    accelerator = prepare(Recipe(), cpu=True)
    paper = replace(RECIPE, learning_rate=2e-5, epochs=3)
    ours, theirs = (predict(way(1, 0.0, data, paper), dev, accelerator) for way in (packed, padded))
    assert np.abs(ours - predict(network(1, 0.0), dev, accelerator)).max() > 0.01
    assert np.abs(ours - theirs).max() < 1e-5


def losses(way: Callable[[int, float, Encoded], Network], dropout: float, splits: Split) -> np.ndarray:
    """On the dev set, of each seed."""
    data, dev = splits
    accelerator = prepare(Recipe(), cpu=True)
    labels = torch.tensor(dev.labels).long()
    found = (torch.tensor(predict(way(number, dropout, data), dev, accelerator)) for number in range(SEEDS))
    return np.array([float(F.cross_entropy(logits, labels)) for logits in found])


@pytest.mark.slow
def test_with_dropout_the_scores_over_seeds_are_alike(acceptability: Split) -> None:
    ours, theirs, less = (
        losses(way, dropout, acceptability) for way, dropout in ((packed, 0.3), (padded, 0.3), (packed, 0.15))
    )
    assert stats.ks_2samp(ours, theirs).pvalue > 0.1
    # as many seeds do tell dropout from half of it
    assert stats.ks_2samp(ours, less).pvalue < 0.01
