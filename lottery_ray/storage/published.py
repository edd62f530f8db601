"""Read what the paper's authors published, their masks and their scores, into a root that reports read.

Masks: a Parquet file with a row per head or MLP: family, task, seed, component (head or mlp), layer and
index (from 0), kept, importance (may be null). Scores: a CSV file with a row per setting, task and metric:
setting, task, mean, std_sample (over seeds), main_metric (1 for the one that is reported).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lottery_ray.errors import InputError
from lottery_ray.experiment import masks
from lottery_ray.experiment.draws import PAPER_SEEDS
from lottery_ray.experiment.effort import Examples, Rows
from lottery_ray.experiment.graph import Node, labels
from lottery_ray.experiment.masks import Component, Mask, Part, write_masks
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.identity import file_sha256
from lottery_ray.inputs.tasks import TASKS
from lottery_ray.storage.attempt import begin
from lottery_ray.storage.store import Store

MASK_COLUMNS = ("family", "task", "seed", "component", "layer", "index", "kept", "importance")
SCORE_COLUMNS = ("setting", "task", "mean", "std_sample", "main_metric")
PAPER_COMPONENTS: dict[str, Component] = {"head": "heads", "mlp": "mlp"}
WIDTHS = {"heads": 12, "mlp": 1}

FAMILIES = {
    "heads_mlps": ("structured", "good"),
    "heads_mlps_random": ("structured", "random (Bernoulli)"),
    "heads_mlps_bad_1": ("structured", "bad"),
    "heads_mlps_super": ("structured", "super"),
    "heads_mlps_super_midling": ("structured", "super random (as released)"),
    "heads_mlps_super_bizzaro": ("structured", "super bad (as released)"),
    "heads_mlps_super_bad": ("structured", "super bad (earlier)"),
    "heads_mlps_bad": ("structured", "bad (earlier)"),
    "heads_mlps_on_train": ("structured, searched on training rows", "good"),
    "heads": ("heads", "good"),
    "mlps": ("MLPs", "good"),
}
"""{family of masks in the authors' repository: method and network}"""
BASES = {("heads", "mlp"): "structured", ("heads",): "heads", ("mlp",): "MLPs"}

SETTINGS = {
    "no_mask": ("", "full"),
    "freq_baseline": ("", "majority"),
    "head_mlp": ("structured", "good"),
    "head_mlp_random": ("structured", "random (Bernoulli)"),
    "head_mlp_bad_1": ("structured", "bad"),
    "head_mlp_bad": ("structured", "bad (earlier)"),
    "head_mlp_invert": ("structured", "bad (complement)"),
    "head_mlp_super": ("structured", "super"),
    "head_mlp_super_midling": ("structured", "super random (as released)"),
    "head_mlp_super_bizzaro": ("structured", "super bad (as released)"),
    "head_mlp_super_bad": ("structured", "super bad (earlier)"),
    "head_mlp_separate": ("structured, separate searches", "good"),
    "global_magnitude": ("magnitude", "good"),
    "global_random": ("magnitude", "random"),
    "global_bad": ("magnitude", "bad (largest removed)"),
    "head": ("heads", "good"),
    "head_random": ("heads", "random (Bernoulli)"),
    "head_invert": ("heads", "bad (complement)"),
    "mlp": ("MLPs", "good"),
    "mlp_random": ("MLPs", "random (Bernoulli)"),
    "mlp_invert": ("MLPs", "bad (complement)"),
}
"""{setting, without "_retrained": method and network}"""

PAPER_NETWORK = {
    "layers": 12,
    "heads": 12,
    "head_size": 64,
    "head_weights": 196_800,
    "mlp_weights": 4_722_432,
    "encoder_weights": 85_017_600,
    "parameters": 109_483_778,
}
"""The network of the paper, bert-base-uncased with a classifier of two classes."""
TOKENS = 128
"""The paper pads every example to this length."""


@dataclass(frozen=True)
class Published(Node):
    """A mask, or the scores of one network over seeds, that others have published. Nothing runs it:
    it is read from their files.

    file: sha256 of what it was read from. name: of the mask's family, or the scores' setting, in there.
    seed: None for scores over seeds. method, network: by the names that the report has for them.
    """

    VERSION = 1
    stage = "published"
    runs = ""
    columns: ClassVar = {
        "sizes": "{component: kept and of} of a mask",
        "weights": "kept and of, prunable encoder weights",
        "architecture": "sizes of the network, in components and weights",
        "dev_tokens": "tokens of an example",
        "measure": "of a score: fine-tuned, pruned or retrained",
        "mean": "over seeds",
        "sd": "over seeds",
        "n": "how many seeds",
    }

    file: str
    name: str
    task: str
    seed: int | None
    method: str
    network: str

    @property
    def setting(self) -> Recipe:
        return Recipe()

    def work(self, rows: Rows) -> Examples:
        return Examples()

    def named(self) -> dict[str, Any]:
        flat = {"task": self.task, "seed": self.seed, "method": self.method, "kind": self.network}
        return flat | {"draw": 0, "size": "stopping"}


@dataclass(frozen=True)
class Imported:
    """What a root holds after an import. skipped: settings that no network of a report answers to."""

    families: dict[str, tuple[str, str]]
    masks: int
    scores: int
    skipped: list[str]


def import_published(parquet: Path, root: str, results: Path | None = None) -> Imported:
    """Write the published masks, and scores if given, as records of a root.

    Raises InputError if a file is missing, corrupt, or has other columns, if a mask is not whole, or if the
    root holds records of anything else.
    """
    table = _masks(parquet)
    scores, skipped = _scores(results) if results else ([], [])
    digest = file_sha256(parquet)
    names = _families(table)
    found = []
    for (family, task, seed), rows in table.groupby(["family", "task", "seed"], sort=False, observed=True):
        node = Published(digest, str(family), _task(str(task)), int(str(seed)), *names[str(family)])
        found.append((node, _mask(rows, f"{parquet}: {family}, {task}, seed {seed}")))
    store = Store.open(root, create=True)
    files = {digest, *(node.file for node, _ in scores)}
    if any(record.identity.get("file") not in files for record in store.records()):
        raise InputError(f"{root} holds records of other files or of a study. Import into a new root.")
    for node, mask in found:
        _write_mask(store, node, mask)
    for node, result in scores:
        begin(store, node).publish(result, {}, {})
    return Imported(names, len(found), len(scores), skipped)


def _read(path: Path, columns: tuple[str, ...], read: Any) -> pd.DataFrame:
    try:
        frame: pd.DataFrame = read(path)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if missing := [name for name in columns if name not in frame]:
        raise InputError(f"{path} has no column {', '.join(missing)}; it should have {', '.join(columns)}.")
    if frame.empty:
        raise InputError(f"{path} has no rows.")
    return frame


def _masks(path: Path) -> pd.DataFrame:
    """The rows of a mask file, their types checked."""
    frame = _read(path, MASK_COLUMNS, lambda path: pq.read_table(path).to_pandas())
    if unknown := set(frame["component"].astype(object)) - set(PAPER_COMPONENTS):
        raise InputError(f"{path}: component is {_few(unknown)} in some rows; it should be head or mlp.")
    for name in ("family", "task"):
        if frame[name].isna().any():
            raise InputError(f"{path}: {name} is missing in some rows.")
    numbers = {name: _numbers(frame[name], f"{path}: {name}") for name in ("seed", "layer", "index", "kept")}
    for name, values in numbers.items():
        if values.isna().any() or (values % 1 != 0).any():
            raise InputError(f"{path}: {name} is no whole number in some rows.")
    if wrong := set(numbers["kept"]) - {0, 1}:
        raise InputError(f"{path}: kept is {_few(wrong)} in some rows; it should be true or false, 1 or 0.")
    whole = {name: values.astype(int) for name, values in numbers.items()}
    importance = _numbers(frame["importance"], f"{path}: importance")
    component = frame["component"].map(PAPER_COMPONENTS).astype(str)
    return frame.assign(**whole, importance=importance, component=component)


def _numbers(values: pd.Series, where: str) -> pd.Series:
    """As floats; missing ones stay missing."""
    try:
        return pd.to_numeric(values.astype(object)).astype(float)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where} should be a number in every row ({error}).") from None


def _few(values: set[Any]) -> str:
    return ", ".join(sorted(map(repr, values))[:3])


def _task(name: str) -> str:
    """Our name of a task; theirs where we have none."""
    return next((task.name for task in TASKS.values() if name in (task.title, task.name)), name)


def _families(table: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """{family: method and network}. One that is not known is the good network of a variant of its own."""
    found = {}
    for family, rows in table.groupby("family", sort=False, observed=True):
        parts = tuple(part for part in PAPER_COMPONENTS.values() if part in set(rows["component"]))
        found[str(family)] = FAMILIES.get(str(family), (f"{BASES[parts]}, {family}", "good"))
    return found


def _mask(rows: pd.DataFrame, where: str) -> Mask:
    """Of one family, task and seed. Raises InputError if it is no mask of BERT-base, each component once."""
    parts = []
    for component in PAPER_COMPONENTS.values():
        of_kind = rows[rows["component"] == component].sort_values(["layer", "index"])
        if of_kind.empty:
            continue
        layers, width = PAPER_NETWORK["layers"], WIDTHS[component]
        every = np.stack(np.unravel_index(np.arange(layers * width), (layers, width)), axis=1)
        if not np.array_equal(of_kind[["layer", "index"]].to_numpy(), every):
            raise InputError(
                f"{where}: {len(of_kind)} rows of {component} are not the {layers} layers of {width} of"
                " BERT-base, each once."
            )
        kept = of_kind["kept"].to_numpy(bool).reshape(layers, width)
        score = of_kind["importance"].to_numpy(np.float32).reshape(layers, width)
        scored = not np.isnan(score).any()
        parts += [
            Part(component, layer, component, (width,), kept[layer], score[layer] if scored else None)
            for layer in range(layers)
        ]
    return tuple(parts)


def _write_mask(store: Store, node: Published, mask: Mask) -> None:
    attempt = begin(store, node)
    identity = {name: labels(node)[name] for name in masks.IDENTITY}
    write_masks(masks.to_table(mask, node.key, identity), attempt.folder / "mask.arrow")
    result = {
        "sizes": masks.sizes(mask),
        "weights": _weights(mask),
        "architecture": PAPER_NETWORK,
        "dev_tokens": TOKENS,
    }
    attempt.publish(result, {}, {})


def _weights(mask: Mask) -> dict[str, int]:
    """{"kept": k, "of": n}: prunable encoder weights. The released code removes the output bias of a layer
    that has no heads left, too."""
    removed = 0
    for part in mask:
        each = PAPER_NETWORK["head_weights" if part.component == "heads" else "mlp_weights"]
        removed += each * int((~part.kept).sum())
        if part.component == "heads" and not part.kept.any():
            removed += PAPER_NETWORK["heads"] * PAPER_NETWORK["head_size"]
    return {"kept": PAPER_NETWORK["encoder_weights"] - removed, "of": PAPER_NETWORK["encoder_weights"]}


def _scores(path: Path) -> tuple[list[tuple[Published, dict[str, Any]]], list[str]]:
    """The reported score of every setting and task, and the settings that are passed over."""
    frame = _read(path, SCORE_COLUMNS, pd.read_csv)
    frame = frame[_numbers(frame["main_metric"], f"{path}: main_metric") == 1]
    if frame.empty:
        raise InputError(f"{path}: main_metric is 1 in no row, so no score is the reported one.")
    frame = frame.assign(
        **{name: _numbers(frame[name], f"{path}: {name}") for name in ("mean", "std_sample")}
    )
    if frame[list(SCORE_COLUMNS)].isna().any(axis=None) or (frame["std_sample"] < 0).any():
        raise InputError(
            f"{path}: some reported rows lack a setting, task or mean, or a std_sample of 0 or more."
        )
    for row in _rows(frame[frame.duplicated(["setting", "task"])]):
        raise InputError(f"{path}: {row['setting']} on {row['task']} is reported more than once.")
    digest = file_sha256(path)
    found, skipped = [], []
    for setting, rows in frame.groupby("setting", sort=False):
        name = str(setting).removesuffix("_retrained")
        if name not in SETTINGS:
            skipped.append(str(setting))
            continue
        method, network = SETTINGS[name]
        for row in _rows(rows):
            node = Published(digest, str(setting), _task(row["task"]), None, method, network)
            measure = "retrained" if setting != name else "pruned" if method else "fine-tuned"
            seeds = 1 if network == "majority" else len(PAPER_SEEDS)
            result = {"measure": measure, "mean": row["mean"], "sd": row["std_sample"], "n": seeds}
            found.append((node, result))
    return found, skipped


def _rows(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    yield from ({str(name): value for name, value in row.items()} for row in frame.to_dict("records"))
