"""What tests of users' own tasks, criteria, kinds and families share: the page's files, studies with them."""

import re
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from transformers import BertForSequenceClassification, RoFormerConfig, RoFormerForSequenceClassification

from lottery_ray.experiment import extensions
from lottery_ray.experiment.extensions import CRITERIA, WEIGHT_CRITERIA
from lottery_ray.experiment.graph import key, node_title
from lottery_ray.experiment.plan import Plan, plan
from lottery_ray.experiment.study import Study
from lottery_ray.inputs import architectures as adapters
from lottery_ray.inputs import tasks
from lottery_ray.inputs.architectures import RECORDED_ADAPTERS
from lottery_ray.inputs.tasks import RECORDED_TASKS, TASKS, Task
from lottery_ray.trial.pretrain import make_tokenizer
from tests.folders import bert_config, data_folder, rows
from tests.networks.test_families import NO_DROPOUT, SIZES
from tests.places import CHECKOUT

PAGE = (CHECKOUT / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = [
    line for block in re.findall(r"```\n(\.venv.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]
MRPC = TASKS["mrpc"]
QUICK = ("--seeds", "1", "--recipe.epochs", "1", "--gpus-per-trial", "0")


@contextmanager
def for_now() -> Iterator[None]:
    """What is added within is gone afterwards."""
    tables: list[dict[Any, Any]] = [
        *(tasks.TASKS, RECORDED_TASKS, adapters.ADAPTERS, adapters.OWN),
        *(CRITERIA, WEIGHT_CRITERIA, extensions.OWN_KINDS, extensions.ORIGINS),
    ]
    before = [table.copy() for table in tables]
    yield
    for table, content in zip(tables, before, strict=True):
        table.clear()
        table.update(content)
    RECORDED_ADAPTERS.clear()
    for module in extensions._files:
        sys.modules.pop(module, None)
    extensions._files.clear()


def run_here(arguments: list[str]) -> None:
    """A Python script with arguments, in this process, which has torch loaded."""
    with pytest.MonkeyPatch.context() as patch, for_now():
        patch.setattr(sys, "argv", arguments)
        patch.setattr(sys, "path", [str(Path(arguments[0]).parent), *sys.path])
        status: object = 0
        try:
            runpy.run_path(arguments[0], run_name="__main__")
        except SystemExit as end:
            status = end.code
        sys.modules.pop("my_family", None)
        assert not status


def make_place(folder: Path) -> Path:
    """A folder with the page's files, models and data."""
    for name, content in FILES.items():
        (folder / name).write_text(content)
    torch.manual_seed(0)
    BertForSequenceClassification(bert_config()).bert.save_pretrained(folder / "a bert")
    make_tokenizer().save_pretrained(folder / "a bert")
    torch.manual_seed(0)
    config = RoFormerConfig(**SIZES | {"max_position_embeddings": 128}, **NO_DROPOUT)
    RoFormerForSequenceClassification(config).save_pretrained(folder / "a roformer")
    make_tokenizer().save_pretrained(folder / "a roformer")
    data_folder(folder / "data", "mrpc")
    reviews = Task("reviews", "Reviews", ("text",), 3, "macro_f1", (0, 2))
    (folder / "data" / "reviews").mkdir()
    for split, count in (("train", 60), ("validation", 24)):
        pq.write_table(rows(reviews, count), folder / "data" / "reviews" / f"{split}.parquet")
    return folder


def study(place: Path, *files: str | Path, **more: Any) -> Study:
    chosen: dict[str, Any] = {"model": str(place / "a bert"), "data": str(place / "data")}
    chosen |= {"tasks": ("mrpc",), "seeds": (1,), "methods": ("structured",), "kinds": ("good",)}
    return Study(**chosen | more, extend=tuple(str(place / name) for name in files))


def planned(place: Path, *files: str | Path, **more: Any) -> Plan:
    return plan(study(place, *files, **more))


def keys(found: Plan) -> dict[str, str]:
    return {node_title(node): key(node) for node in found.nodes}
