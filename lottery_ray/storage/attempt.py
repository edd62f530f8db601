"""One run of a node: artifacts in a folder of its own, then its record, last and atomically, or why it
failed."""

import contextlib
import json
import os
import shutil
import tempfile
import traceback
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lottery_ray.experiment.graph import Node, labels
from lottery_ray.identity import digest, file_sha256, identity
from lottery_ray.storage.location import full_disk
from lottery_ray.storage.store import FORMAT, Record, Store


@dataclass(frozen=True)
class Attempt:
    """One run of a node: write artifacts into `folder`, then publish."""

    store: Store
    node: Node
    name: str
    folder: Path

    @property
    def _place(self) -> str:
        return f"nodes/{self.node.key}/{self.name}"

    def publish(
        self, result: dict[str, Any], provenance: dict[str, Any], inputs: dict[Node, Record]
    ) -> Record:
        """Make the node's record, last and atomically. If another run published first, its record
        stands and is returned, and this run's artifacts are removed. The node's checkpoints go."""
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        record = Record(
            key=self.node.key,
            attempt=self.name,
            identity=identity(self.node),
            labels=labels(self.node),
            artifacts={path.relative_to(self.folder).as_posix(): file_sha256(path) for path in files},
            parents={parent.key: parent.digest for parent in inputs.values()},
            result=result,
            provenance=provenance,
        )
        content = {"format": FORMAT, **asdict(record)}
        content["checksum"] = digest(content)
        text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False).encode()
        if self.store.local:
            self._link(text)
        else:
            self._upload(files, text)
        published = self.store.read(record.key)
        assert published is not None
        if published.attempt != self.name or not self.store.local:
            shutil.rmtree(self.folder)
        self.store.drop_checkpoints(self.node)
        return published

    def _link(self, text: bytes) -> None:
        """A hard link is made whole or not at all, and never over an existing file."""
        draft = self.folder / ".node.json"
        draft.write_bytes(text)
        with contextlib.suppress(FileExistsError):
            os.link(draft, self.folder.parent / "node.json")
        draft.unlink()

    def _upload(self, files: list[Path], text: bytes) -> None:
        """Objects appear whole. Between the look and the write another driver may publish, and pyarrow has
        no conditional write: then the last one stands, whole, and readers whose parents disagree refuse
        (`Store.inputs`)."""
        record = f"nodes/{self.node.key}/node.json"
        for path in files:
            name = path.relative_to(self.folder).as_posix()
            self.store._upload(path, f"{self._place}/{name}")
        if not self.store._exists(record):
            self.store._write(record, text)

    def fail(self, error: Exception) -> None:
        """Keep a failed run's cause, in one line, and its traceback where `Store.failure` finds them.

        Raises InputError, in words, if a full disk was the cause.
        """
        full = full_disk(error, self.folder, Path(tempfile.gettempdir()))
        cause = " ".join(traceback.format_exception_only(full or error)).split()
        log = "\n".join([" ".join(cause), "", *traceback.format_exception(error)])
        if full or not self.store.local:
            # half-written artifacts, which take the room that the log needs
            shutil.rmtree(self.folder)
        self.store._make_folder(self._place)
        self.store._write(f"{self._place}/error.txt", log.encode())
        if full:
            raise full from error


def begin(store: Store, node: Node) -> Attempt:
    """A run of a node, with a folder of its own."""
    name = uuid.uuid4().hex[:12]
    if store.local:
        folder = Path(store._full(f"nodes/{node.key}/{name}"))
        folder.mkdir(parents=True)
    else:
        folder = Path(tempfile.mkdtemp(prefix="lottery_ray_"))
    return Attempt(store, node, name, folder)
