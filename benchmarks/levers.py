"""What each lever of a training step is worth: the step without it, against the step with all.

python -m benchmarks.levers --data FOLDER

On a task's own sentences, CPU time, one thread. Padding is left in by giving every example the tokens that it
would be padded to; a step costs the same whatever these are.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import torch
import tyro
from torch.nn import functional as F
from transformers import AutoTokenizer

from benchmarks import measurement
from benchmarks.finetuning import MODEL, SEED, chosen, ours
from lottery_ray.inputs.data import FolderData, data_sha256, split_table
from lottery_ray.inputs.encoding import Encoded, encode
from lottery_ray.inputs.tasks import TASKS
from lottery_ray.networks import batches as data
from lottery_ray.networks import dropout
from lottery_ray.networks import network as networks
from lottery_ray.training import loop as training

LONGEST = 128


def padded(encoded: Encoded) -> Encoded:
    """Every example filled up to LONGEST tokens."""
    tokens = np.zeros((len(encoded), LONGEST), np.int32)
    filled = np.arange(LONGEST) < encoded.lengths[:, None]
    tokens[filled] = encoded.input_ids
    ends = LONGEST * np.arange(1, len(encoded) + 1)
    segments = np.zeros(tokens.size, np.int8)
    return Encoded(tokens.ravel(), segments, ends, encoded.idx, encoded.labels)


def _fused_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, dropout: float, scale: float | None
) -> torch.Tensor:
    return F.scaled_dot_product_attention(q, k, v, mask, dropout_p=dropout, scale=scale)


@contextmanager
def _torch_dropout() -> Iterator[None]:
    with (
        patch.object(dropout, "dropout", F.dropout),
        patch.object(networks, "random_zeros", F.dropout),
    ):
        yield


def _all(network: object, encoded: Encoded, recipe: object) -> AbstractContextManager[Any]:
    return nullcontext((encoded, nullcontext))


def _loop_adamw(*arguments: Any, adamw: Any = torch.optim.AdamW, **options: Any) -> torch.optim.Optimizer:
    made: torch.optim.Optimizer = adamw(*arguments, **{**options, "fused": False, "foreach": False})
    return made


WITHOUT: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "attention in groups of similar length (one for all)": partial(patch.object, data, "WIDTH", 10**9),
    "plain attention on a CPU (the fused kernel)": partial(
        patch.object, networks, "_attend", _fused_attention
    ),
    "dropout by 32 bits (torch's)": _torch_dropout,
    "embeddings of words that occur (of all)": partial(patch.object, training, "only_what_occurs", _all),
    "fused AdamW (a loop over tensors)": partial(patch.object, torch.optim, "AdamW", _loop_adamw),
}


def main(
    data_folder: Annotated[Path, tyro.conf.arg(name="data")],
    task: str = "mrpc",
    steps: int = 8,
    number: int = 3,
) -> None:
    """Time a training step without each lever.

    Args:
        data_folder: A folder of <task>/train.parquet, as a study reads it.
        task: Whose sentences.
        steps: How many are timed.
        number: How many rounds.
    """
    torch.set_num_threads(1)
    of, sha256 = TASKS[task], data_sha256(data_folder, TASKS[task])
    table = split_table(FolderData(sha256), of, "train", {sha256: str(data_folder)})
    encoded = encode(table, of, AutoTokenizer.from_pretrained(MODEL), LONGEST)
    words = padded(encoded)
    drawn = chosen(encoded, np.random.default_rng(SEED).permutation(len(encoded))[: 32 * steps])

    def step(rows: Encoded, without: AbstractContextManager[Any], precision: Any = "fp32") -> float:
        with without:
            return ours(MODEL, of, rows, words, precision)

    ways = {
        "all": lambda: step(drawn, nullcontext()),
        "bf16 (fp32)": lambda: step(drawn, nullcontext(), "bf16"),
        f"packing (padded to {LONGEST})": lambda: step(padded(drawn), nullcontext()),
    } | {name: partial(lambda made: step(drawn, made()), made) for name, made in WITHOUT.items()}
    seconds = dict(zip(ways, measurement.rounds(list(ways.values()), number).T, strict=True))
    every = seconds.pop("all")
    bf16 = seconds.pop("bf16 (fp32)")
    against = f"without it, a step of {of.title}"
    found = [measurement.ratio(name, against, every, other, 0.0) for name, other in seconds.items()]
    found.append(measurement.ratio("bf16 (fp32)", against, bf16, every, 0.0))
    measurement.show("Levers of training", found)
    measurement.keep(found)


if __name__ == "__main__":
    tyro.cli(main)
