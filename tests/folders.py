"""Model and data folders as a user has them, small: a tiny BERT of the embedded language, and GLUE tasks."""

import copy
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import BertConfig, BertForSequenceClassification

from lottery_ray.inputs import language
from lottery_ray.inputs.tables import data_files
from lottery_ray.inputs.tasks import TASKS, Task
from lottery_ray.trial.pretrain import make_tokenizer

ROWS = {"train": 24, "validation": 12}


def model_folder(folder: Path) -> Path:
    """A checkpoint as save_pretrained leaves it."""
    BertForSequenceClassification(bert_config()).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def pretrained_folder(folder: Path) -> Path:
    """A checkpoint without a classifier, as pre-training leaves it, with dropout."""
    torch.manual_seed(0)
    BertForSequenceClassification(bert_config(dropout=0.1)).bert.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def rows(task: Task, count: int) -> pa.Table:
    """Rows of a task, with all of its labels."""
    pairs = list(language.corpus(language.Language(corpus_pairs=count)))
    columns: dict[str, pa.Array] = {
        name: pa.array([pair[place] for pair in pairs]) for place, name in enumerate(task.text)
    }
    if task.is_regression:
        columns["label"] = pa.array(np.linspace(*task.label_range, count), pa.float32())
    else:
        columns["label"] = pa.array(np.arange(count) % task.labels, pa.int64())
    return pa.table(columns | {"idx": pa.array(range(count), pa.int32())})


def data_folder(folder: Path, *tasks: str) -> Path:
    """<task>/{train,validation}.parquet of these tasks."""
    for name in tasks:
        for split, path in data_files(folder, TASKS[name]).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(rows(TASKS[name], ROWS[split]), path)
    return folder


def bert_config(labels: int = 2, dropout: float = 0.0) -> BertConfig:
    return copy.deepcopy(
        BertConfig(
            vocab_size=140,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=48,
            initializer_range=0.3,
            max_position_embeddings=128,
            num_labels=labels,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
    )
