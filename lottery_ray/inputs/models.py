"""The pre-trained model that a study reads: its identity, the refusal of what cannot be used, and its
folder."""

import functools
import json
import platform
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from lottery_ray.errors import InputError
from lottery_ray.identity import NO_IDENTITY, before, digest, file_sha256
from lottery_ray.inputs.architectures import ADAPTERS, OWN, REFUSED, Architecture


@dataclass(frozen=True)
class HubModel:
    """A checkpoint on the Hugging Face hub: its commit. The name is where to find it.

    architecture: one that a user added; None: one of ours.
    """

    name: str = field(metadata=NO_IDENTITY)
    commit: str
    architecture: Architecture | None = before(None)


@dataclass(frozen=True)
class FolderModel:
    """A checkpoint in a local folder: the sha256 of its config, weights and tokenizer files.

    architecture: one that a user added; None: one of ours.
    """

    sha256: str
    architecture: Architecture | None = before(None)


BERT_BASE = HubModel("google-bert/bert-base-uncased", "86b5e0934494bd15c9632b12f734a8a67f723594")


def named_model(name: str, max_length: int, folders: dict[str, str]) -> HubModel | FolderModel:
    """The model that a user names: a folder, or a hub name (optionally name@commit).

    A folder's path is added to `folders` by its identity. Raises InputError if there is no such model, if
    its files are not whole, if its architecture has no adapter, or if it has no place for examples of
    max_length tokens.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        family = _check_architecture(name, folder / "config.json", max_length)
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
    family = _check_architecture(name, _hub_config(repository, commit), max_length)
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


def _check_architecture(name: str, config: Path, max_length: int) -> str:
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
    if places is not None and max_length > places:
        raise InputError(
            f"--recipe.max-length {max_length}: the model {name} has positions for {places} tokens."
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


def check_hub_model(found: HubModel, max_length: int) -> None:
    """Refuse a hub model that cannot be had, or whose architecture has no adapter (InputError)."""
    _check_architecture(found.name, _hub_config(found.name, found.commit), max_length)
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
    return digest({path.name: file_sha256(path) for path in files})


def pre_trained(model: FolderModel | HubModel, folders: dict[str, str]) -> Path:
    """The folder on this machine with a pre-trained model and its tokenizer.

    Raises InputError if a folder is not there, or is not what it was when the study was planned.
    """
    if isinstance(model, FolderModel):
        return _unchanged(Path(folders[model.sha256]), model.sha256)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(model.name, revision=model.commit, allow_patterns=list(MODEL_FILES)))


@functools.cache
def _unchanged(folder: Path, sha256: str) -> Path:
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist on {platform.node()}; every machine needs it there.")
    if model_sha256(folder) != sha256:
        raise InputError(f"The model in {folder} is not the one that the study was planned on.")
    return folder
