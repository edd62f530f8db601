"""What a study reads: the identity of its model and data, and the refusal of what cannot be used."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from lottery_ray.errors import InputError
from lottery_ray.experiment.nodes import (
    Data,
    FolderData,
    FolderModel,
    HubData,
    HubModel,
    Model,
    Pretrain,
    Recipe,
)
from lottery_ray.inputs.architectures import ADAPTERS, OWN, REFUSED
from lottery_ray.inputs.language import Language
from lottery_ray.inputs.tasks import Task
from lottery_ray.storage.store import digest, sha256

BERT_BASE = HubModel("google-bert/bert-base-uncased", "86b5e0934494bd15c9632b12f734a8a67f723594")
GLUE_DATA = HubData("nyu-mll/glue", "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c")
EMBEDDED = "embedded"
HUB = "hub"


def model(name: str, recipe: Recipe, folders: dict[str, str]) -> Model:
    """The model that a user names: a folder, a hub name (optionally name@commit), or "embedded", whose
    pre-training takes the recipe's threads.

    A folder's path is added to `folders` by its identity. Raises InputError if there is no such model, if
    its files are not whole, if its architecture has no adapter, or if it has no place for the recipe's
    longest example.
    """
    if name == EMBEDDED:
        return Pretrain(threads=recipe.threads)
    folder = Path(name).expanduser()
    if folder.is_dir():
        family = _check_architecture(name, folder / "config.json", recipe)
        _check_weights(folder)
        found = FolderModel(model_sha256(folder), OWN.get(family))
        folders[found.sha256] = str(folder.resolve())
        return found
    repository, _, commit = name.partition("@")
    if name.startswith((".", "/", "~")) or repository.count("/") > 1:
        raise InputError(
            f"--model {name}: no such folder. Name one with config.json and model.safetensors, or a model on"
            " the hub."
        )
    if not re.fullmatch("[0-9a-f]{40}", commit):
        # a branch moves on; a commit, as the presets have, needs no network here
        commit = _hub_config(repository, commit or None).parent.name
    if not OWN:
        return HubModel(repository, commit)
    family = _check_architecture(name, _hub_config(repository, commit), recipe)
    return HubModel(repository, commit, OWN.get(family))


def _hub_config(name: str, commit: str | None) -> Path:
    """The config of a hub model, in the cache's folder of its commit. Needs the hub, or its cache."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(hf_hub_download(name, "config.json", revision=commit))
    except (OSError, HFValidationError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"--model {name}: no such folder, and it cannot be had from the hub ({reason}). Name a model that"
            " exists, go online once, or name a local folder."
        ) from None


def _check_architecture(name: str, config: Path, recipe: Recipe) -> str:
    """Its model_type."""
    try:
        content = json.loads(config.read_text())
        family = content["model_type"]
        if not isinstance(family, str):
            raise TypeError
    except FileNotFoundError:
        raise InputError(f"--model {name}: {config} does not exist; it is no model folder.") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"--model {name}: {config} is corrupt, or names no model_type.") from None
    if family not in ADAPTERS:
        why = f" ({REFUSED[family]})" if family in REFUSED else ""
        raise InputError(
            f"--model {name}: no adapter for the architecture {family!r}{why}; these work:"
            f" {', '.join(ADAPTERS)}. One of your own may be added with --extend (docs/extending.md)."
        )
    if reason := _unprunable(content):
        raise InputError(f"--model {name}: {config} {reason}.")
    places = _places(content)
    if places is not None and recipe.max_length > places:
        raise InputError(
            f"--recipe.max-length {recipe.max_length}: the model {name} has positions for {places} tokens."
        )
    return family


def _places(config: dict[str, Any]) -> int | None:
    """How many tokens a model has positions for; None where they are relative."""
    family = config["model_type"]
    if family in ("modernbert", "llama") or not config.get("position_biased_input", True):
        return None
    places = int(config.get("max_position_embeddings", 512))
    # these number positions after the padding token's id
    after_padding = ADAPTERS[family].positions_after_padding or family == "mpnet"
    offset = config.get("pad_token_id", 1) + 1 if after_padding else 0
    return places - int(offset)


def _unprunable(config: dict[str, Any]) -> str | None:
    """Why a configuration of an architecture that has an adapter cannot be pruned, or None."""
    heads, groups = config.get("num_attention_heads"), config.get("num_key_value_heads")
    if groups not in (None, heads):
        return (
            f"has grouped-query attention (num_attention_heads {heads}, num_key_value_heads {groups}): heads"
            " share keys and values, and none can be cut out alone. Models with as many of both work"
        )
    if config.get("is_decoder"):
        return "has is_decoder true; this architecture works as an encoder alone"
    fillers = config.get("pad_token_id"), config.get("eos_token_id", 2)
    if config["model_type"] == "llama" and (fillers == (None, None) or fillers[0] == -1):
        return "has neither pad_token_id nor eos_token_id; one of them must fill short examples"
    return None


def _check_weights(folder: Path) -> None:
    files = list(folder.glob("*.safetensors"))
    if not files:
        raise InputError(
            f"--model {folder}: it has no .safetensors weights (pickled ones are not read; save the model"
            " again with save_pretrained)."
        )
    for path in files:
        try:
            with safe_open(path, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise InputError(f"--model: {path} is not a whole safetensors file ({error}).") from None


def check_hub_model(found: HubModel, recipe: Recipe) -> None:
    """Refuse a hub model that cannot be had, or whose architecture has no adapter (InputError)."""
    _check_architecture(found.name, _hub_config(found.name, found.commit), recipe)
    if not any(_on_hub(found, name) for name in ("model.safetensors", "model.safetensors.index.json")):
        raise InputError(
            f"--model {found.name}: it has no .safetensors weights at {found.commit} (pickled ones are not"
            " read). Load it once, save it with save_pretrained, and name that folder."
        )


def _on_hub(found: HubModel, name: str) -> bool:
    from huggingface_hub import file_exists, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(found.name, name, revision=found.commit), str):
        return True
    try:
        return file_exists(found.name, name, revision=found.commit)
    except OSError as error:
        raise InputError(f"--model {found.name}: the hub does not answer ({error}).") from None


MODEL_FILES = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "added_tokens.json",
    "special_tokens_map.json",
)


def model_sha256(folder: Path) -> str:
    """The identity of a checkpoint in a folder: of its config, weights and tokenizer files."""
    files = sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)})
    return digest({path.name: sha256(path) for path in files})


def data_files(folder: Path, task: Task) -> dict[str, Path]:
    """{split: file} of one task of a local folder."""
    return {
        "train": folder / task.name / "train.parquet",
        "validation": folder / task.name / f"{task.validation}.parquet",
    }


def data_sha256(folder: Path, task: Task) -> str:
    """The identity of one task of a local folder."""
    return digest({split: sha256(path) for split, path in data_files(folder, task).items()})


def sized(name: str, task: Task) -> Task:
    """A user's own task with the sizes that its files have in the folder that a user names.

    Raises InputError if they cannot be had.
    """
    rows = {}
    for split, path in data_files(_data_folder(name), task).items():
        try:
            rows[split] = pq.read_metadata(path).num_rows
        except (pa.ArrowInvalid, OSError):
            _check_table(path, task)
            raise
    return replace(task, train_size=rows["train"], dev_size=rows["validation"])


def _data_folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise InputError(f'--data {name}: no such folder; name one, or "hub".')
    return folder


def data(name: str, task: Task, folders: dict[str, str]) -> Data:
    """The data that a user names: "hub", a folder of <task>/{train,validation}.parquet, or "embedded".

    A folder's path is added to `folders` by its identity. Raises InputError, naming the file, for data
    without the task, a file without a column, with a label outside its range, empty, or not Parquet.
    """
    if name == EMBEDDED:
        return Language()
    if name == HUB:
        return GLUE_DATA
    folder = _data_folder(name)
    for path in data_files(folder, task).values():
        _check_table(path, task)
    found = FolderData(data_sha256(folder, task))
    folders[found.sha256] = str(folder.resolve())
    return found


def _check_table(path: Path, task: Task) -> None:
    columns = [*task.text, "label"]
    where = f"--data: {path}"
    if not path.is_file():
        raise InputError(f"{where} does not exist; {task.title} needs it, with columns {', '.join(columns)}.")
    try:
        names = pq.read_schema(path).names
        if missing := [name for name in columns if name not in names]:
            raise InputError(f"{where} has no column {', '.join(missing)}; it has {', '.join(names)}.")
        table = pq.read_table(path, columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{where} is not a whole Parquet file ({error}).") from None
    check_rows(where, table, task)


def check_rows(where: str, table: pa.Table, task: Task) -> None:
    """Refuse a split that is empty, or with a text or label that cannot be used (InputError). where: what it
    is, in words."""
    if not table.num_rows:
        raise InputError(f"{where} is empty.")
    for name in task.text:
        kind = table.schema.field(name).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)) or table[name].null_count:
            raise InputError(f"{where}: column {name} must be text without nulls; it is {kind}.")
    _check_labels(where, task, table["label"])


def _check_labels(where: str, task: Task, label: pa.ChunkedArray) -> None:
    low, high = task.label_range
    kind = "numbers" if task.is_regression else "whole numbers"
    whole = pa.types.is_integer(label.type)
    if label.null_count or not (whole or (task.is_regression and pa.types.is_floating(label.type))):
        raise InputError(f"{where}: labels must be {kind} without nulls; they are {label.type}.")
    values = label.to_numpy()
    for value in values[~((low <= values) & (values <= high))][:1]:
        raise InputError(
            f"{where}: label {value:g} is outside {low:g} to {high:g}, the range of {task.title}."
        )
