"""Checkpoints within a training node, so that one whose process is killed goes on from where it was.

Data order and dropout follow from the number of the step (streams), and so does the schedule; a checkpoint
is that number, the trainable weights, the optimiser's state, and the size of micro-batches where memory has
run out. On a CPU the result is bit by bit that of a run without a stop.
"""

import json
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors.torch import load, save
from torch import nn
from torch.optim import Optimizer

from lottery_ray.errors import InputError
from lottery_ray.experiment.graph import Node
from lottery_ray.machine import noticed_since
from lottery_ray.storage.store import Store
from lottery_ray.training.micro_batches import MicroBatch


@dataclass
class Checkpoints:
    """Those of one run of a node; the store keeps the newest until the node is published.

    minutes: how old the newest may get; 0 writes one at every step. made_with: the artifacts of the
    parents and the versions of packages. A checkpoint that was made with others is left alone, so that no
    record mixes them. One from another device is used: losing machines of mixed kinds is what checkpoints
    are for, and the record names the devices.

    resumed_at_step, resumed_from (devices), seconds: of the runs whose work this one went on with.
    micro_batch: what the training has come down to. warnings: why a checkpoint was not used, or not written.
    """

    store: Store
    node: Node
    minutes: float
    made_with: dict[str, Any]
    device: str
    resumed_at_step: list[int] = field(default_factory=list)
    resumed_from: list[str] = field(default_factory=list)
    seconds: float = 0.0
    micro_batch: MicroBatch = field(default_factory=MicroBatch)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._began = self._last = time.monotonic()

    def restore(self, network: nn.Module, optimizer: Optimizer) -> int:
        """Put the newest usable checkpoint into both; returns the step to go on with, 0 without one."""
        content = self._newest()
        if content is None:
            return 0
        _put(load(content), network, optimizer)
        state = _header(content)
        self.resumed_at_step = [*state["resumed_at_step"], state["step"]]
        self.resumed_from = [*state["resumed_from"], state["device"]]
        self.seconds = state["seconds"]
        self.micro_batch.size = state.get("micro_batch")
        return int(state["step"])

    def _newest(self) -> bytes | None:
        for name in self.store.checkpoints(self.node):
            try:
                content = self.store.read_checkpoint(name)
            except InputError as error:
                self.warnings.append(str(error))
                continue
            if _header(content)["made_with"] == self.made_with:
                return content
            self.warnings.append(f"{name} was made with other parents or packages, and was not used.")
        return None

    def keep(self, step: int, network: nn.Module, optimizer: Optimizer) -> None:
        """Before a step: write a checkpoint if the last one is too old, or if the machine was given notice
        since then."""
        now = time.monotonic()
        age = now - self._last
        due = age >= 60 * self.minutes or noticed_since(time.time() - age)
        if not due:
            return
        state = {
            "step": step,
            "made_with": self.made_with,
            "device": self.device,
            "resumed_at_step": self.resumed_at_step,
            "resumed_from": self.resumed_from,
            "seconds": self.seconds + now - self._began,
            "micro_batch": self.micro_batch.size,
        }
        content = save(_tensors(network, optimizer), {"state": json.dumps(state)})
        try:
            self.store.keep_checkpoint(self.node, step, content)
        except InputError as error:
            # the work goes on without what would have insured it
            self.warnings.append(f"No checkpoint before step {step}: {error}")
        self._last = now

    def provenance(self) -> dict[str, Any]:
        """What a record says of them."""
        return {
            "resumed_at_step": self.resumed_at_step,
            "resumed_from": self.resumed_from,
            "checkpoint_warnings": self.warnings,
            "micro_batch": self.micro_batch.size,
        }


def _header(content: bytes) -> dict[str, Any]:
    """The JSON beside the tensors; safetensors itself reads it from files only."""
    end = 8 + int.from_bytes(content[:8], "little")
    state: dict[str, Any] = json.loads(json.loads(content[8:end])["__metadata__"]["state"])
    return state


def _trained(network: nn.Module) -> dict[str, nn.Parameter]:
    """A layer without heads has empty weights, which are not trained."""
    return {n: p for n, p in network.named_parameters() if p.requires_grad and p.numel()}


def _tensors(network: nn.Module, optimizer: Optimizer) -> dict[str, torch.Tensor]:
    found = {}
    for name, parameter in _trained(network).items():
        found[f"weight {name}"] = parameter.detach().contiguous()
        for kind, value in optimizer.state[parameter].items():
            found[f"{kind} {name}"] = value.contiguous()
    return found


def _put(tensors: dict[str, torch.Tensor], network: nn.Module, optimizer: Optimizer) -> None:
    parameters = _trained(network)
    for place, value in tensors.items():
        kind, name = place.split(" ")
        parameter = parameters[name]
        if kind == "weight":
            parameter.detach().copy_(value)
        elif value.dim():
            # fused AdamW takes its moments to be laid out in memory as the weights are
            optimizer.state[parameter][kind] = torch.empty_like(parameter).copy_(value)
        else:
            optimizer.state[parameter][kind] = value.to(parameter.device)
