"""A ticket of a root as a plain Hugging Face folder, which needs nothing of lottery_ray."""

import copy
import shutil
import tempfile
from pathlib import Path
from typing import Any

from transformers.models.auto import AutoModelForSequenceClassification

from lottery_ray.errors import InputError
from lottery_ray.experiment import masks
from lottery_ray.experiment.masks import Mask, read_masks
from lottery_ray.experiment.nodes import Ticket
from lottery_ray.inputs.architectures import ADAPTERS
from lottery_ray.networks import released
from lottery_ray.networks.network import Network
from lottery_ray.networks.pruning import kept_weights, prune
from lottery_ray.networks.weights import load_network
from lottery_ray.storage.recorded import added_architecture
from lottery_ray.storage.store import Record, Store

MODEL_ARTIFACTS = ("config.json", "model.safetensors", "mask.arrow", "predictions.arrow")


def export_ticket(root: str, key: str, folder: Path, *, retrained: bool) -> Record:
    """Write a ticket's network and its fine-tuned model's tokenizer into `folder`, of full size, its pruned
    parts zeros; returns the ticket's record.

    retrained: with the retrained weights, instead of the fine-tuned ones under the mask. Raises InputError
    if the folder is not empty, if there is no such ticket, or if its retrained weights were not kept.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"--to {folder}: is there already; name a new folder, or an empty one.")
    store = Store.open(root)
    ticket = _ticket(store, root, key)
    full = store.read(ticket.identity["finetune"])
    if full is None:
        raise InputError(f"The fine-tuned model {ticket.identity['finetune']} of this ticket has no record.")
    if own := added_architecture(full):
        ADAPTERS.setdefault(own.model_type, own.adapter)
    if retrained and not any(name.startswith("retrained/") for name in ticket.artifacts):
        raise InputError(
            f"The retrained weights of {key} were not kept. Export it as pruned, or run its study with"
            " --keep-retrained into a new root."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lottery_ray_") as copies:
        mask = masks.from_table(read_masks(store.fetch(ticket, "mask.arrow", Path(copies) / "mask")))
        if retrained:
            network = load_network(_fetched(store, ticket, Path(copies), "retrained/"))
        else:
            network = load_network(_fetched(store, full, Path(copies), ""))
            if ticket.identity.get("removal") == "released":
                released.lose_output_bias(network, mask)
            prune(network, mask)
        export_network(network, mask, folder)
        for name in set(full.artifacts) - set(MODEL_ARTIFACTS):
            shutil.copy(store.fetch(full, name, Path(copies)), folder / name)
    return ticket


def _ticket(store: Store, root: str, key: str) -> Record:
    record = store.read(key)
    if record is None:
        raise InputError(
            f"{root} holds no node {key}. The report's scores.csv and --dry-run list the keys of tickets."
        )
    if record.labels["stage"] != Ticket.stage:
        raise InputError(f"{key} is a {record.labels['stage']}, not a ticket; only tickets are exported.")
    return record


def _fetched(store: Store, record: Record, into: Path, prefix: str) -> Path:
    """The folder that holds the artifacts whose names start so."""
    names = [name for name in record.artifacts if name.startswith(prefix)]
    paths = [store.fetch(record, name, into / record.key) for name in names]
    return paths[0].parent


def export_network(network: Network, mask: Mask, folder: Path) -> None:
    """A pruned network as a plain Hugging Face folder: of full size, its pruned parts zeros.

    network: compacted, gated or weight-masked by the mask, with weights of any dtype. There is no tokenizer
    in the folder.
    """
    own: Any = network.model
    config = copy.deepcopy(own.config)
    config._attn_implementation = None
    whole = Network(AutoModelForSequenceClassification.from_config(config, dtype=own.dtype))
    kept, source = kept_weights(whole, mask), network.state_dict()
    for name, value in whole.state_dict().items():
        if name not in kept:
            value.copy_(source[name])
            continue
        value.zero_()
        if name in source:
            found = source[name].cpu()
            # what compaction left is in the order of what the mask keeps
            value[kept[name]] = found[kept[name]] if found.shape == value.shape else found.flatten()
    plain: Any = whole.model
    plain.save_pretrained(folder)
