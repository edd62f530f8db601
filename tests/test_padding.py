"""Training on packed batches is training on padded ones: the same weights without dropout, the same scores over
seeds with it."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F
from transformers import BertForSequenceClassification, get_linear_schedule_with_warmup

from lottery_ray import language, models
from lottery_ray.data import Encoded, encode
from lottery_ray.importance import predict
from lottery_ray.models import Network
from lottery_ray.nodes import Recipe
from lottery_ray.pretraining import make_tokenizer
from lottery_ray.streams import generator, seed
from lottery_ray.tasks import TASKS
from lottery_ray.training import train
from tests.folders import bert_config

RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=2e-3)
LONGEST = 32
TASK = TASKS["cola"]
Split = tuple[Encoded, Encoded]


@pytest.fixture(scope="module")
def acceptability() -> Split:
    """Sentences of 3 to 15 words, good or bad ones: to train on, and to score."""
    generated = language.Language(seed=1, acceptability_rows=(160, 400))
    tables = (language.table(generated, "acceptability", split) for split in ("train", "validation"))
    found = [encode(table, TASK, make_tokenizer(), LONGEST) for table in tables]
    assert len({*found[0].lengths}) > 3
    return found[0], found[1]


def network(number: int, dropout: float) -> Network:
    torch.manual_seed(number)
    config = bert_config(dropout=dropout)
    return Network(BertForSequenceClassification._from_config(config, attn_implementation=models.PACKED))


def packed(number: int, dropout: float, data: Encoded) -> Network:
    found = network(number, dropout)
    train(found, data, TASK, number, RECIPE, models.accelerator("fp32", cpu=True))
    return found


def padded(number: int, dropout: float, data: Encoded) -> Network:
    """The usual loop, on batches of LONGEST tokens each."""
    found = network(number, dropout)
    model = BertForSequenceClassification._from_config(bert_config(dropout=dropout), attn_implementation="eager")
    model.load_state_dict(found.model.state_dict())
    steps = RECIPE.epochs * len(data) // RECIPE.batch_size
    optimizer = torch.optim.AdamW(model.parameters(), RECIPE.learning_rate, eps=1e-8, weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, steps)
    ids, attended = (torch.zeros(len(data), LONGEST, dtype=torch.long) for _ in range(2))
    for row, (end, length) in enumerate(zip(data.ends, data.lengths, strict=True)):
        ids[row, :length] = torch.tensor(data.input_ids[end - length : end])
        attended[row, :length] = 1
    model.train()
    torch.manual_seed(seed("padded", number))
    for epoch in range(RECIPE.epochs):
        order = generator(TASK.name, number, "order", epoch).permutation(len(data))
        for rows in np.split(order, len(data) // RECIPE.batch_size):
            logits = model(input_ids=ids[rows], attention_mask=attended[rows]).logits
            F.cross_entropy(logits, torch.tensor(data.labels[rows]).long()).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), RECIPE.clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    found.model.load_state_dict(model.state_dict())
    return found


def test_without_dropout_the_weights_are_the_same(acceptability: Split) -> None:
    data, dev = acceptability
    accelerator = models.accelerator("fp32", cpu=True)
    ours, theirs = (predict(way(1, 0.0, data), dev, accelerator) for way in (packed, padded))
    assert np.abs(ours - predict(network(1, 0.0), dev, accelerator)).max() > 0.1
    assert np.abs(ours - theirs).max() < 1e-4


def losses(way: Callable[[int, float, Encoded], Network], dropout: float, splits: Split) -> np.ndarray:
    """On the dev set, of each seed."""
    data, dev = splits
    accelerator = models.accelerator("fp32", cpu=True)
    labels = torch.tensor(dev.labels).long()
    found = (torch.tensor(predict(way(number, dropout, data), dev, accelerator)) for number in range(32))
    return np.array([float(F.cross_entropy(logits, labels)) for logits in found])


def test_with_dropout_the_scores_over_seeds_are_alike(acceptability: Split) -> None:
    ours, theirs, without = (
        losses(way, dropout, acceptability) for way, dropout in ((packed, 0.1), (padded, 0.1), (packed, 0.0))
    )
    print(ours.mean(), theirs.mean(), without.mean(), ours.std(), theirs.std(), without.std())
    print(stats.ks_2samp(ours, theirs).pvalue, stats.ks_2samp(ours, without).pvalue)
