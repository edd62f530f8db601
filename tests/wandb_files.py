"""What was sent to Weights & Biases, in plain objects, and how to read it from the files of offline runs."""

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER, FILE_HEADER = 32768, 7, 7
FULL, LAST = 1, 4
protocol: Any = wandb_internal_pb2  # its messages are made as it is imported


@dataclass
class Run:
    """One run, over all the processes that went on with it."""

    id: str
    project: str = ""
    group: str = ""
    job_type: str = ""
    name: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    """Values that were logged as a/b are under "a/b"; dictionaries are nested."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """In the order of sending; each row has its _step."""
    axes: dict[str, str] = field(default_factory=dict)
    """By define_metric's name or glob, the metric that is its x axis."""
    files: dict[str, bytes] = field(default_factory=dict)
    """By path, such as media/images/a_0_b52.png."""
    exit_code: int | None = None
    """None: running, or killed."""

    def curve(self, metric: str) -> list[tuple[int, Any]]:
        """(step, value) of one metric."""
        return [(row["_step"], row[metric]) for row in self.history if metric in row]


@dataclass
class Artifact:
    """One version of an artifact: what has another digest is another version."""

    name: str
    type: str
    digest: str
    aliases: set[str] = field(default_factory=set)
    metadata: dict[str, Any] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    """By path in the artifact, the URI of what is not uploaded."""
    files: dict[str, bytes] = field(default_factory=dict)
    made_by: list[str] = field(default_factory=list)
    used_by: list[str] = field(default_factory=list)


@dataclass
class Tracked:
    runs: dict[str, Run] = field(default_factory=dict)
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    """By name and version, such as "mask:v0"."""

    def artifact(self, name: str, kind: str, digest: str) -> Artifact:
        """The version with this digest, a new one if there is none."""
        versions = [artifact for artifact in self.artifacts.values() if artifact.name == name]
        for artifact in versions:
            if artifact.digest == digest:
                return artifact
        return self.artifacts.setdefault(f"{name}:v{len(versions)}", Artifact(name, kind, digest))

    def key(self, artifact: Artifact) -> str:
        return next(key for key, other in self.artifacts.items() if other is artifact)

    def alias(self, artifact: Artifact, aliases: Iterable[str]) -> None:
        """Calls this version so, and no other."""
        for other in self.artifacts.values():
            if other.name == artifact.name:
                other.aliases -= set(aliases)
        artifact.aliases |= set(aliases)


def read_offline(folder: Path) -> Tracked:
    """All offline runs in a folder, in the order of their starts: where a run went on, one run."""
    found = Tracked()
    # the folder is called offline-run-DATE_TIME-ID
    for path in sorted(folder.rglob("offline-run-*/run-*.wandb"), key=lambda path: path.parent.name):
        id_ = path.stem.removeprefix("run-")
        run = found.runs.setdefault(id_, Run(id_))
        run.exit_code = None
        for record in read_records(path):
            _add(found, run, record)
        inside = path.parent / "files"
        run.files |= {
            file.relative_to(inside).as_posix(): file.read_bytes()
            for file in inside.rglob("*")
            if file.is_file()
        }
    return found


def read_records(path: Path) -> Iterator[Any]:
    """The whole records (wandb_internal.proto says of what) of a .wandb file, a LevelDB log: blocks of
    32 KiB with records in pieces. The file of a process that was killed may end within one."""
    content, at, pieces = path.read_bytes(), FILE_HEADER, b""
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        if kind == 0 or at + HEADER + length > len(content):
            return
        pieces += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (FULL, LAST):
            yield protocol.Record.FromString(pieces)
            pieces = b""


def _add(found: Tracked, run: Run, record: Any) -> None:
    match record.WhichOneof("record_type"):
        case "run":
            run.project = record.run.project
            run.group, run.job_type = record.run.run_group, record.run.job_type
            run.name, run.tags = record.run.display_name, list(record.run.tags)
            _update(run.config, record.run.config.update)
        case "config":
            _update(run.config, record.config.update)
        case "summary":
            _update(run.summary, record.summary.update)
        case "history":
            row: dict[str, Any] = {}
            _update(row, record.history.item)
            run.history.append(row)
        case "metric" if record.metric.step_metric:
            run.axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        case "exit":
            run.exit_code = record.exit.exit_code
        case "artifact":
            _add_artifact(found, run, record.artifact)


def _update(values: dict[str, Any], items: Any) -> None:
    for item in items:
        *outer, last = item.nested_key or [item.key]
        if (outer or [last])[0] == "_wandb":
            continue
        inside = values
        for key in outer:
            inside = inside.setdefault(key, {})
        inside[last] = json.loads(item.value_json)


def _add_artifact(found: Tracked, run: Run, record: Any) -> None:
    artifact = found.artifact(record.name, record.type, record.digest)
    found.alias(artifact, record.aliases)
    artifact.metadata |= json.loads(record.metadata or "{}")
    for entry in record.manifest.contents:
        if entry.ref:
            artifact.references[entry.path] = entry.ref
        else:
            artifact.files[entry.path] = Path(entry.local_path).read_bytes()
    runs = artifact.used_by if record.use_after_commit else artifact.made_by
    if run.id not in runs:
        runs.append(run.id)
