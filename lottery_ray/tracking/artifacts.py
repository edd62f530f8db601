"""What nodes read and leave, as artifacts of Weights & Biases with their lineage."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lottery_ray.experiment.graph import Node, labels
from lottery_ray.identity import digest, identity
from lottery_ray.inputs.data import Data, FolderData, HubData
from lottery_ray.inputs.models import FolderModel, HubModel
from lottery_ray.storage.store import Record, Store
from lottery_ray.tracking.settings import node_slug


@dataclass(frozen=True)
class Artifact:
    """What a run has read or left. A run that reads it describes it as the one that has left it did, and the
    service takes equal ones for the same.

    file: to be uploaded; or reference: where it is.
    """

    name: str
    type: str
    metadata: dict[str, Any]
    file: Path | None = None
    reference: str = ""


def for_wandb(artifact: Artifact) -> Any:
    """wandb's own."""
    import wandb

    made = wandb.Artifact(artifact.name, artifact.type, metadata=artifact.metadata)
    if artifact.file:
        made.add_file(str(artifact.file), policy="immutable", skip_cache=True)
    else:
        made.add_reference(artifact.reference, name=artifact.name, checksum=False)
    return made


def left_by(node: Node, record: Record, store: Store, fetched: Path | None) -> list[Artifact]:
    """What a node with a record has left: a model, which stays in the root, or a mask.

    fetched: where a mask is fetched to from a root that is not on this machine, to be uploaded; None if it
    stays in the root, too.
    """
    kind, name = node.leaves or ("", "")
    if name not in record.artifacts:
        return []
    about = {label: value for label, value in labels(node).items() if value is not None}
    about |= {"key": record.key, "sha256": record.artifacts[name]}
    if kind == "mask" and fetched:
        return [Artifact(node_slug(node), kind, about, file=store.fetch(record, name, fetched / record.key))]
    place = store.named(f"nodes/{record.key}/{record.attempt}/{name}")
    return [Artifact(node_slug(node), kind, about, reference=f"file://{place}" if store.local else place)]


def read_from_outside(node: Node) -> list[Artifact]:
    """The data sets and pre-trained models that a node reads from outside the root."""
    task = labels(node)["task"]
    return [
        _base_model(read) if isinstance(read, HubModel | FolderModel) else _data_set(read, task)
        for read in node.outside()
        if not isinstance(read, Node)
    ]


def _base_model(model: HubModel | FolderModel) -> Artifact:
    if isinstance(model, HubModel):
        where = f"https://huggingface.co/{model.name}/tree/{model.commit}"
        return Artifact(model.name.replace("/", "-"), "base-model", {"commit": model.commit}, reference=where)
    about = {"sha256": model.sha256}
    return Artifact(f"model-{model.sha256[:12]}", "base-model", about, reference=f"urn:sha256:{model.sha256}")


def _data_set(data: Data, task: str) -> Artifact:
    if isinstance(data, HubData):
        where = f"https://huggingface.co/datasets/{data.name}/tree/{data.commit}/{task}"
        return Artifact(
            f"{data.name}-{task}".replace("/", "-"), "dataset", {"commit": data.commit}, None, where
        )
    sha256 = data.sha256 if isinstance(data, FolderData) else digest(identity(data))
    return Artifact(f"{task}-{sha256[:12]}", "dataset", {"sha256": sha256}, reference=f"urn:sha256:{sha256}")
