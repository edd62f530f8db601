"""The data that a study reads: its identity, the refusal of what cannot be used, and its rows."""

import functools
import platform
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lottery_ray.errors import InputError
from lottery_ray.identity import digest, file_sha256
from lottery_ray.inputs import language
from lottery_ray.inputs.language import Language
from lottery_ray.inputs.tables import Split, check_table, data_files
from lottery_ray.inputs.tasks import Task


@dataclass(frozen=True)
class HubData:
    """A data set on the Hugging Face hub, at a commit."""

    name: str
    commit: str


@dataclass(frozen=True)
class FolderData:
    """One task of a local folder: the sha256 of its training and validation files."""

    sha256: str


Data = HubData | FolderData | Language

GLUE_DATA = HubData("nyu-mll/glue", "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c")
MADE_HERE = "embedded"
HUB = "hub"


def data_sha256(folder: Path, task: Task) -> str:
    """The identity of one task of a local folder."""
    return digest({split: file_sha256(path) for split, path in data_files(folder, task).items()})


def sized(name: str, task: Task) -> Task:
    """A user's own task with the sizes that its files have in the folder that a user names.

    Raises InputError if they cannot be had.
    """
    rows = {}
    for split, path in data_files(_data_folder(name), task).items():
        try:
            rows[split] = pq.read_metadata(path).num_rows
        except (pa.ArrowInvalid, OSError):
            check_table(path, task)
            raise
    return replace(task, train_size=rows["train"], dev_size=rows["validation"])


def _data_folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise InputError(f'--data {name}: no such folder; name one, or "hub".')
    return folder


def named_data(name: str, task: Task, folders: dict[str, str]) -> Data:
    """The data that a user names: "hub", a folder of <task>/{train,validation}.parquet, or "embedded".

    A folder's path is added to `folders` by its identity. Raises InputError, naming the file, for data
    without the task, a file without a column, with a label outside its range, empty, or not Parquet.
    """
    if name == MADE_HERE:
        return Language()
    if name == HUB:
        return GLUE_DATA
    folder = _data_folder(name)
    for path in data_files(folder, task).values():
        check_table(path, task)
    found = FolderData(data_sha256(folder, task))
    folders[found.sha256] = str(folder.resolve())
    return found


def split_table(data: Data, task: Task, split: Split, folders: dict[str, str]) -> pa.Table:
    """One split of a task: its text columns, `label` and `idx`.

    folders: {identity: path} of the plan. Raises InputError if a folder's files are not those of the
    plan.
    """
    if isinstance(data, Language):
        return language.table(data, task.name, split)
    if isinstance(data, HubData):
        return _hub_table(data, task, split)
    folder = Path(folders[data.sha256])
    _check_unchanged(folder, task, data)
    found = pq.read_table(data_files(folder, task)[split])
    if "idx" not in found.column_names:
        found = found.append_column("idx", pa.array(range(found.num_rows), pa.int32()))
    return found


@functools.cache
def _check_unchanged(folder: Path, task: Task, data: FolderData) -> None:
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist on {platform.node()}; every machine needs it there.")
    if data_sha256(folder, task) != data.sha256:
        raise InputError(
            f"The files of {task.title} in {folder} are not those that the study was planned on."
        )


def _hub_table(data: HubData, task: Task, split: Split) -> pa.Table:
    import datasets

    name = task.validation if split == "validation" else split
    loaded = datasets.load_dataset(data.name, task.name, revision=data.commit, split=name)
    return loaded.with_format("arrow")[:]
