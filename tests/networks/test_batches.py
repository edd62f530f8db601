"""Packing, tokenising, limits, and the hub's loaders on a local copy."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lottery_ray.errors import InputError
from lottery_ray.inputs import language
from lottery_ray.inputs.data import FolderData, HubData, data_sha256, split_table
from lottery_ray.inputs.encoding import Encoded, encode
from lottery_ray.inputs.tables import limited
from lottery_ray.inputs.tasks import TASKS
from lottery_ray.networks import batches as data
from lottery_ray.trial.pretrain import IDS, make_tokenizer


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_packing_lays_every_token_out_once(lengths: list[int], random: object) -> None:
    total = sum(lengths)
    encoded = Encoded(
        np.arange(total) + 1_000,
        np.arange(total) % 2,
        np.cumsum(lengths),
        np.arange(len(lengths)),
        np.arange(len(lengths)) / 2,
    )
    rows = np.array(sorted(range(len(lengths)), key=lambda row: (lengths[row] * 7 + row) % 11))
    batch = data.pack(encoded, rows)
    starts = encoded.ends - encoded.lengths
    expected = np.concatenate([np.arange(starts[row], encoded.ends[row]) for row in rows])
    assert (batch.input_ids[0].numpy() == expected + 1_000).all()
    assert (batch.token_type_ids[0].numpy() == expected % 2).all()
    assert (batch.position_ids[0].numpy() == np.concatenate([np.arange(lengths[row]) for row in rows])).all()
    assert (batch.input_ids[0, batch.starts].numpy() == starts[rows] + 1_000).all()
    assert (batch.labels.numpy() == rows / 2).all()
    # the groups hold each example whole, and `ungroup` finds every token again
    laid_out = np.concatenate([index.numpy().ravel() for index in batch.group_index])
    filled = np.concatenate([mask.numpy().ravel() for mask in batch.group_mask])
    assert (laid_out[batch.ungroup.numpy()] == np.arange(total)).all()
    assert filled.sum() == total
    for index, mask in zip(batch.group_index, batch.group_mask, strict=True):
        for row, places in zip(index, mask[:, 0, 0], strict=True):
            assert len(np.unique(batch.example.numpy()[row[places].numpy()])) == 1


def test_evaluation_batches_cover_every_row_once(encoded: Encoded) -> None:
    batches = data.batches_by_length(encoded, 3)
    assert sorted(np.concatenate(batches)) == list(range(7))
    assert [len(rows) for rows in batches] == [3, 3, 1]


def test_pairs_are_tokenised_as_bert_expects() -> None:
    rows = pa.table(
        {"sentence1": ["n000 v00"], "sentence2": ["n111 v11 d0"], "label": [1.5], "idx": pa.array([7])}
    )
    encoded = encode(rows, TASKS["stsb"], make_tokenizer(), 128)
    words = ["[CLS]", "n000", "v00", "[SEP]", "n111", "v11", "d0", "[SEP]"]
    assert encoded.input_ids.tolist() == [IDS[word] for word in words]
    assert encoded.segments.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert (encoded.idx.tolist(), encoded.labels.tolist()) == ([7], [1.5])
    assert len(encode(rows, TASKS["stsb"], make_tokenizer(), 6).input_ids) == 6


def test_the_training_limit_draws_the_same_rows_whatever_came_before() -> None:
    rows = language.table(language.Language(), "similarity", "train")
    task = TASKS["similarity"]
    first = limited(rows, task, 100)["idx"].to_pylist()
    np.random.default_rng(3).random(10)
    assert limited(rows, task, 100)["idx"].to_pylist() == first
    assert len(set(first)) == 100
    assert first != list(range(100))
    assert limited(rows, task, None).num_rows == limited(rows, task, 5_000).num_rows == 1_000


def write_task(folder: Path, task: str, validation: str) -> None:
    (folder / task).mkdir(parents=True)
    columns = {name: ["a b", "c d", "e f"] for name in TASKS[task].text}
    for split, labels in (("train", [0, 1, 2]), (validation, [2, 1, 0])):
        pq.write_table(pa.table({**columns, "label": labels}), folder / task / f"{split}.parquet")


def test_mnli_is_judged_on_its_matched_dev_set(tmp_path: Path) -> None:
    write_task(tmp_path, "mnli", "validation_matched")
    sha256 = data_sha256(tmp_path, TASKS["mnli"])
    found = split_table(FolderData(sha256), TASKS["mnli"], "validation", {sha256: str(tmp_path)})
    assert found["label"].to_pylist() == [2, 1, 0]
    assert found["idx"].to_pylist() == [0, 1, 2]


def test_data_that_changed_since_the_plan_is_refused(tmp_path: Path) -> None:
    write_task(tmp_path, "mnli", "validation_matched")
    with pytest.raises(InputError, match="not those that the study was planned on"):
        split_table(FolderData("0" * 64), TASKS["mnli"], "train", {"0" * 64: str(tmp_path)})


def test_the_hub_loader_gives_the_same_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The `datasets` library reads a folder laid out as nyu-mll/glue is, with a config per task."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    write_task(tmp_path / "glue", "mnli", "validation_matched")
    (tmp_path / "glue" / "README.md").write_text(
        "---\nconfigs:\n- config_name: mnli\n  data_files:\n  - split: train\n    path: mnli/train.parquet\n"
        "  - split: validation_matched\n    path: mnli/validation_matched.parquet\n---\n"
    )
    hub = HubData(str(tmp_path / "glue"), "main")
    found = split_table(hub, TASKS["mnli"], "validation", {})
    assert found["label"].to_pylist() == [2, 1, 0]
    assert found["premise"].to_pylist() == ["a b", "c d", "e f"]
