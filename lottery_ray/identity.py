"""What identifies a value: its canonical JSON, hashed, in which a field that came later can mean the old
behaviour.

A dataclass is all its fields, defaults included, with the name of its class and its VERSION if it has one. A
value with a `key` of its own is that key within others.
"""

import hashlib
import json
from dataclasses import field, fields, is_dataclass
from pathlib import Path
from typing import Any

NO_IDENTITY = {"identity": False}
"""Metadata of a field that changes no result."""


def before(value: Any) -> Any:
    """A field that came later: `value` means the old behaviour and stays out of the identity, so that
    keys from before the field live on."""
    return field(default=value, metadata={"before": value})


def identity(value: Any) -> dict[str, Any]:
    """What is hashed of a dataclass, as JSON has it."""
    content = {
        # 1 and 1.0 are equal, so nodes with them are; their keys must be too
        f.name: float(getattr(value, f.name)) if f.type is float else _canonical(getattr(value, f.name))
        for f in fields(value)
        if f.metadata.get("identity", True)
        and ("before" not in f.metadata or getattr(value, f.name) != f.metadata["before"])
    }
    version = {"version": value.VERSION} if hasattr(value, "VERSION") else {}
    return {"type": type(value).__name__} | version | content


def _canonical(value: Any) -> Any:
    if hasattr(value, "key"):
        return value.key
    if is_dataclass(value):
        return identity(value)
    if isinstance(value, tuple):
        return [_canonical(item) for item in value]
    return value


def digest(value: Any) -> str:
    """sha256, 64 hexadecimal digits, of a value's canonical JSON."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256, 64 hexadecimal digits, of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
