"""Where results live: the records of a root, and their artifacts.

    ROOT/lottery.json                     the format version of the root
    ROOT/nodes/<key>/node.json            a node's record: it exists whole, or it does not
    ROOT/nodes/<key>/<attempt>/...        the artifacts that a run of the node wrote
    ROOT/nodes/<key>/<attempt>/error.txt  why a run failed
    ROOT/nodes/<key>/checkpoint/...       where whoever runs a training node next goes on

An attempt writes into a folder of its own and publishes node.json last, atomically; what is
published is never replaced, so two drivers on one root cannot mix their results; where object storage
cannot promise that, readers refuse a mixture. Every artifact is checked against the record's sha256 before
it is read. Nothing in a root is ever unpickled.
"""

import contextlib
import hashlib
import json
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lottery_ray.errors import InputError
from lottery_ray.experiment.graph import Node, node_title, parents
from lottery_ray.identity import digest, file_sha256
from lottery_ray.storage.location import FIRST_ATTEMPTS, Location

FORMAT = 1
FORMAT_FILE = "lottery.json"
READERS = 16
"""Records that are read at once: an answer of object storage takes some 30 ms."""


@dataclass(frozen=True)
class Record:
    """A finished node.

    identity: what was hashed into the key. labels: the flat names (task, seed, method, kind, ...).
    artifacts: {file: sha256}. parents: {key: digest of the artifacts that were read}.
    result: what must be equal between runs. provenance: times in seconds, memory in MiB, machine.
    """

    key: str
    attempt: str
    identity: dict[str, Any]
    labels: dict[str, Any]
    artifacts: dict[str, str]
    parents: dict[str, str]
    result: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def digest(self) -> str:
        return digest(self.artifacts)


@dataclass(frozen=True)
class Store(Location):
    """The records of a root. Make one with `Store.open`."""

    @classmethod
    def open(cls, root: str, *, create: bool = False) -> "Store":
        """root: a folder, relative or absolute, or a URI.

        Raises InputError if the scheme is unknown, if the root was written by a newer format version,
        if it is no root (unless `create`), or if it cannot be written (with `create`).
        """
        if create:
            cls.at(root, FIRST_ATTEMPTS)._try_to_write()
        store = cls.at(root)
        store._check_format(create)
        return store

    @classmethod
    def exists(cls, root: str) -> bool:
        """Whether there is a root there. Raises InputError if that cannot be seen."""
        return cls.at(root, FIRST_ATTEMPTS)._exists(FORMAT_FILE)

    def _try_to_write(self) -> None:
        # written first: the answers to reading say less of what is wrong
        probe = f".{uuid.uuid4().hex}"
        self._make_folder("")
        self._write(probe, b"")
        self._delete(probe)

    def _check_format(self, create: bool) -> None:
        found = 0
        content = self._read_if_there(FORMAT_FILE)
        if content is not None:
            try:
                found = json.loads(content)["format"]
                if not isinstance(found, int):
                    raise TypeError
            except (ValueError, KeyError, TypeError):
                raise InputError(
                    f'{self.named(FORMAT_FILE)} is corrupt; it should hold {{"format": 1}}.'
                ) from None
        elif create:
            self._write(FORMAT_FILE, json.dumps({"format": FORMAT}).encode())
        else:
            raise InputError(
                f"{self.uri} is no root of a study: it has no {FORMAT_FILE}. Is it the --root of a sweep?"
            )
        if found > FORMAT:
            raise InputError(
                f"The root {self.uri} was written by a newer lottery_ray (format {found}; this one reads"
                f" up to {FORMAT}). Update lottery_ray, or name another root."
            )

    def write_json(self, name: str, content: Any) -> None:
        """Write a small file of the root, whole or not at all, over an older one."""
        self._make_folder(name.rpartition("/")[0])
        self._write(name, json.dumps(content, indent=1).encode())

    def read_json(self, name: str) -> Any:
        """The content of a file of the root.

        Raises InputError if it cannot be read, ValueError if it is no JSON.
        """
        return json.loads(self._read(name))

    def folders(self, name: str) -> list[str]:
        """The names of the folders within a folder of the root, in order; none if there is no such one."""
        return [folder.rpartition("/")[2] for folder in self._list(name)]

    def recorded(self) -> set[str]:
        """The keys of the nodes that have a record, which is not looked into."""
        names = self._list("nodes", recursive=True)
        return {name.split("/")[1] for name in names if name.endswith("/node.json")}

    def read(self, node_key: str) -> Record | None:
        """The record of a node, or None. Raises InputError, naming it, if the record is corrupt."""
        name = f"nodes/{node_key}/node.json"
        text = self._read_if_there(name)
        if text is None:
            return None
        try:
            content = json.loads(text)
            if content["key"] != node_key:
                raise ValueError(f"it is of {content['key']}")
            checksum = content.pop("checksum")
            if digest(content) != checksum:
                raise ValueError("its checksum does not match")
            if content.pop("format") > FORMAT:
                raise InputError(
                    f"The record {self.named(name)} was written by a newer lottery_ray. Update lottery_ray."
                )
            return Record(**content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"The record {self.named(name)} is corrupt ({error}). Delete that file, and the node runs"
                " again."
            ) from None

    def records(self) -> Iterator[Record]:
        """All records of the root, in the order of their keys."""
        keys = self.folders("nodes")
        with ThreadPoolExecutor(READERS) as pool:
            yield from filter(None, pool.map(self.read, keys))

    def set_aside_outdated(self) -> tuple[dict[str, Record], list[Record]]:
        """Take from the root the records that were made from another run of a parent than the one in the
        root, and those that were made from them. They are kept beside their artifacts. Returns those that
        stand, by their keys, and those taken.

        Two drivers at once on object storage leave such records, and so does a deleted record, where a
        device is not deterministic.
        """
        records = {record.key: record for record in self.records()}
        outdated: dict[str, Record] = {}
        changed = True
        while changed:
            found = [r for k, r in records.items() if k not in outdated and _outdated(r, records, outdated)]
            outdated |= {record.key: record for record in found}
            changed = bool(found)
        for record in outdated.values():
            name, place = f"nodes/{record.key}/node.json", f"nodes/{record.key}/{record.attempt}"
            self._make_folder(place)
            self._write(f"{place}/outdated.json", self._read(name))
            self._delete(name)
        return {k: r for k, r in records.items() if k not in outdated}, list(outdated.values())

    def fetch(self, record: Record, name: str, into: Path | None = None) -> Path:
        """A local path of one artifact, its sha256 checked; a remote one is copied to `into`, once.

        Raises InputError, naming the file, if it is missing or is not what its record says.
        """
        artifact = f"nodes/{record.key}/{record.attempt}/{name}"
        if self.local:
            path = Path(self._full(artifact))
        else:
            path = (into or Path(tempfile.mkdtemp(prefix="lottery_ray_"))) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() and self._exists(artifact):
                self._download(artifact, path)
        if not path.is_file():
            raise InputError(f"{self.named(artifact)} is missing, though its node is recorded as done.")
        if file_sha256(path) != record.artifacts[name]:
            raise InputError(
                f"{self.named(artifact)} is corrupt: its sha256 is not the recorded one. Delete"
                f" nodes/{record.key}/node.json, and the node runs again."
            )
        return path

    def inputs(self, node: Node) -> dict[Node, Record]:
        """The records of a node's parents.

        Raises InputError if one is missing, or if two were made from different runs of a node they
        share (two drivers at once on a device that is not deterministic).
        """
        found: dict[Node, Record] = {}
        for parent in parents(node):
            record = self.read(parent.key)
            if record is None:
                raise InputError(f"{node_title(node)} needs {node_title(parent)}, which has no record.")
            found[parent] = record
        digests = {record.key: record.digest for record in found.values()}
        for parent, record in found.items():
            for ancestor, read in record.parents.items():
                # two parents must agree, too, on what only they have read
                if digests.setdefault(ancestor, read) != read:
                    raise InputError(
                        f"{node_title(parent)} ({record.key}) was made from another run of {ancestor} than"
                        " the one now in the root. Run the study again, and it is made again."
                    )
        return found

    def _checkpoint_folder(self, node: Node) -> str:
        return f"nodes/{node.key}/checkpoint"

    def checkpoints(self, node: Node) -> list[str]:
        """A node's checkpoints, as paths within the root, the newest first."""
        names = self._list(self._checkpoint_folder(node))
        return [name for name in reversed(names) if name.endswith(".safetensors")]

    def keep_checkpoint(self, node: Node, step: int, content: bytes) -> None:
        """Keep a node's checkpoint, whole or not at all, in place of those before."""
        before = self.checkpoints(node)
        self._make_folder(self._checkpoint_folder(node))
        checksum = hashlib.sha256(content).hexdigest()
        name = f"{self._checkpoint_folder(node)}/{step:09}-{checksum}.safetensors"
        self._write(name, content)
        for old in set(before) - {name}:
            # another driver may have removed it
            with contextlib.suppress(InputError):
                self._delete(old)

    def read_checkpoint(self, name: str) -> bytes:
        """Raises InputError if it is corrupt."""
        content = self._read(name)
        if hashlib.sha256(content).hexdigest() != Path(name).stem.partition("-")[2]:
            raise InputError(f"The checkpoint {self.named(name)} is corrupt: its sha256 is not in its name.")
        return content

    def drop_checkpoints(self, node: Node) -> None:
        """Remove all of a node's, if that can be done."""
        with contextlib.suppress(InputError):
            if self._exists(self._checkpoint_folder(node)):
                self._delete_folder(self._checkpoint_folder(node))

    def error_logs(self, node: Node) -> set[str]:
        """The logs that failed runs of a node have left, as paths within the root."""
        names = self._list(f"nodes/{node.key}", recursive=True)
        return {name for name in names if name.endswith("/error.txt")}

    def failure(self, node: Node, before: Set[str] = frozenset()) -> tuple[str, str] | None:
        """Cause in one line, and where the whole log is, of a failed run of a node.

        before: logs of earlier runs, which do not count.
        """
        logs = self.error_logs(node) - before
        if not logs:
            return None
        relative = max(logs)
        return self._read(relative).decode().partition("\n")[0], self.named(relative)


def _outdated(record: Record, records: Mapping[str, Record], outdated: Mapping[str, Record]) -> bool:
    return any(
        parent in outdated or (parent in records and records[parent].digest != read)
        for parent, read in record.parents.items()
    )
