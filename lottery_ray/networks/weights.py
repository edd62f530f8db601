"""Networks and their checkpoints: made, saved and loaded, pruned ones too."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import init_empty_weights
from safetensors.torch import load_file, save_file
from transformers import AutoConfig
from transformers.models.auto import AutoModelForSequenceClassification

from lottery_ray.errors import InputError
from lottery_ray.experiment import masks
from lottery_ray.experiment.masks import Mask, read_masks, write_masks
from lottery_ray.inputs.architectures import ADAPTERS
from lottery_ray.inputs.tasks import Task
from lottery_ray.networks.network import Network, linears
from lottery_ray.networks.packing import PACKED
from lottery_ray.networks.pruning import prune, weights_kept
from lottery_ray.streams import seed


def initial_network(
    folder: Path, task: Task, node_seed: int, start: Literal["pretrained", "random"]
) -> Network:
    """The network that training starts from. What the checkpoint lacks (the classifier) is drawn from
    (task, seed, "classifier"), so that it is the same for the full model and all its tickets.

    Raises InputError if the checkpoint has a classifier for another number of labels."""
    config = AutoConfig.from_pretrained(folder, num_labels=task.labels)
    torch.manual_seed(seed(task.name, node_seed, "classifier"))
    if start == "random":
        return skeleton(config)
    return _pretrained(folder, config)


def skeleton(config: Any) -> Network:
    """A network of this configuration, with random weights of torch's global stream."""
    return Network(
        AutoModelForSequenceClassification.from_config(
            config, attn_implementation=_attention(config), dtype=torch.float32
        )
    )


def _pretrained(folder: Path, config: Any) -> Network:
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            attn_implementation=_attention(config),
            dtype=torch.float32,
            # pickled weights beside them, or instead, are not looked at
            use_safetensors=True,
        )
    except RuntimeError as error:
        if "ignore_mismatched_sizes" not in str(error):
            raise
        raise InputError(
            f"The model in {folder} was saved with a classifier for another number of labels than"
            f" {config.num_labels}. Save it without (model.base_model.save_pretrained), and name that folder."
        ) from None
    return Network(model)


def _attention(config: Any) -> str | None:
    """None: transformers' choice."""
    return PACKED if ADAPTERS[config.model_type].packed else None


@dataclass(frozen=True)
class Saved:
    """A fine-tuned network as it was saved: its config, and its weights on the CPU."""

    config: Any
    weights: dict[str, torch.Tensor]


def read_saved(folder: Path) -> Saved:
    """A network that `save` left whole."""
    return Saved(AutoConfig.from_pretrained(folder), load_file(folder / "model.safetensors"))


def restored(saved: Saved) -> Network:
    """The network, with weights of its own."""
    with init_empty_weights(include_buffers=False):
        network = skeleton(copy.deepcopy(saved.config))
    network.model.load_state_dict({name: value.clone() for name, value in saved.weights.items()}, assign=True)
    return network


def save_network(network: Network, folder: Path, mask: Mask | None = None) -> None:
    """As config.json and model.safetensors, with the mask of a pruned network as mask.arrow."""
    if mask is None:
        network.save(folder)
        return
    model: Any = network.model
    model.config.save_pretrained(folder)
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()},
        folder / "model.safetensors",
    )
    whose: dict[str, Any] = {"task": "", "seed": 0, "method": "", "kind": "", "size": "", "draw": 0}
    write_masks(masks.to_table(mask, "", whose), folder / "mask.arrow")


def load_network(folder: Path) -> Network:
    """A fine-tuned network, as `save` left it: a pruned one is compacted, gated or weight-masked as it was.

    Raises InputError if its mask is not whole.
    """
    saved = read_saved(folder)
    if not (folder / "mask.arrow").exists():
        return restored(saved)
    network, weights = skeleton(saved.config), saved.weights
    whole = {name: value.shape for name, value in network.model.state_dict().items()}
    gated = whole == {name: value.shape for name, value in weights.items()}
    mask = masks.from_table(read_masks(folder / "mask.arrow"))
    prune(network, mask, "gated" if gated else "compacted")
    network.model.load_state_dict(weights)
    return network


def architecture_sizes(network: Network) -> dict[str, int]:
    """What the sizes of its subnetworks are shares of: layers, heads (of a layer), head_size, and numbers of
    weights: head_weights (of one head), mlp_weights (of one MLP), encoder_weights (all prunable ones) and
    parameters (all)."""
    layers, heads = network.shape
    (output,) = linears(network.layers[0], (network.adapter.attention_output,)).values()
    whole = np.ones((layers, heads), bool), np.ones(layers, bool)
    without = [kept.copy() for kept in whole]
    for kept in without:
        kept[0] = False

    def weights(heads: np.ndarray, mlps: np.ndarray) -> int:
        return weights_kept(network, masks.structured_mask(heads, mlps))["kept"]

    every = weights(*whole)
    return {
        "layers": layers,
        "heads": heads,
        "head_size": output.in_features // heads,
        "head_weights": (every - weights(without[0], whole[1])) // heads,
        "mlp_weights": every - weights(whole[0], without[1]),
        "encoder_weights": every,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }


def freeze_encoder(network: Network) -> None:
    """Let nothing but the classification head train, in place."""
    network.requires_grad_(False)
    for name in network.adapter.head:
        network.model.get_submodule(name).requires_grad_(True)
