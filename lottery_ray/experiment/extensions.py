"""What users have added in this process, and the files or packages that it came from.

An extension calls the functions of `lottery_ray.extending` when it is imported, which a plan does, and then
every process that runs a node, after a check that it is what was planned. A file's source travels with the
plan.
"""

import hashlib
import importlib
import json
import linecache
import os
import platform
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from lottery_ray.errors import InputError


@dataclass(frozen=True)
class Added:
    """A function that a user added.

    sha256: of its source. origin: the file or package that it is in. any_size, every_seed: of a kind of
    ticket.
    """

    function: Callable[..., Any]
    sha256: str
    origin: str
    any_size: bool = False
    every_seed: bool = False


CRITERIA: dict[str, Added] = {}
"""Of heads and MLPs, by name."""
WEIGHT_CRITERIA: dict[str, Added] = {}
"""Of weights, by name."""
OWN_KINDS: dict[str, Added] = {}
"""Of tickets, by name."""
ORIGINS: dict[tuple[str, str], str] = {}
"""{(what, name): the file or package that added it}"""


def added(table: dict[str, Added], name: str, sha256: str | None) -> Added:
    """What a node names. Raises InputError if it is not there, or not what was planned."""
    if name not in table or table[name].sha256 != sha256:
        raise InputError(f"{name} is not what the study was planned with; name its source with --extend.")
    return table[name]


@dataclass(frozen=True)
class Extension:
    """A file or a module with what a user adds, as a study was planned with it.

    name: a file's path where the study was planned, or a module's dotted name. sha256: of its source. source:
    a file's.
    """

    name: str
    sha256: str = ""
    source: str | None = None


def load_extensions(names: Iterable[str]) -> tuple[Extension, ...]:
    """Import extensions, files or installed modules, to plan with them.

    Raises InputError, in one line, if one does not exist, fails, or adds nothing.
    """
    found = []
    for name in dict.fromkeys(names):
        extension = _read(name)
        module = _imported(extension, f"--extend {name}")
        if origin_of(module) not in ORIGINS.values():
            raise InputError(
                f"--extend {name}: it adds nothing; call add_task, add_adapter, add_criterion,"
                " add_weight_criterion or add_kind of lottery_ray.extending in it."
            )
        found.append(replace(extension, sha256=source_sha256(module)))
    return tuple(found)


def load_planned(extensions: Iterable[Extension]) -> None:
    """Import the extensions of a plan in a process that runs nodes. Raises InputError if one fails here, or
    is not what the study was planned with."""
    for extension in extensions:
        where = f"{extension.name} on {platform.node()}"
        module = _imported(extension, where)
        if source_sha256(module) != extension.sha256:
            raise InputError(f"{where} is not what the study was planned with; install the same everywhere.")


def _read(name: str) -> Extension:
    path = Path(name).expanduser()
    if path.suffix != ".py" and os.sep not in name:
        return Extension(name)
    try:
        source = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"--extend {name}: cannot be read ({why}).") from None
    return Extension(str(path.resolve()), source=source)


_files: dict[str, Extension] = {}
"""{module: the file that it is}"""


def _imported(extension: Extension, where: str) -> str:
    """The name of its module, which is imported once in a process. where: it is, in words."""
    try:
        if extension.source is not None:
            return _of_file(extension, extension.source)
        importlib.import_module(extension.name)
        return extension.name
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        # a part of its name, not something that it imports
        if extension.source is None and missing and f"{extension.name}.".startswith(f"{missing}."):
            raise InputError(f"{where}: no such .py file, and no installed module.") from None
        raise _failed(extension, where, error) from error


def _of_file(extension: Extension, source: str) -> str:
    path = Path(extension.name)
    sha256 = hashlib.sha256(source.encode()).hexdigest()
    name = f"{path.stem}_{sha256[:16]}"
    if name not in sys.modules:
        # tracebacks and debuggers show its lines where there is no such file
        lines = source.splitlines(keepends=True)
        linecache.cache[extension.name] = len(source), None, lines, extension.name
        module = ModuleType(name)
        module.__file__ = extension.name
        sys.modules[name], _files[name] = module, replace(extension, sha256=sha256)
        try:
            exec(compile(source, extension.name, "exec", dont_inherit=True), module.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
    return name


def _failed(extension: Extension, where: str, error: BaseException) -> InputError:
    """What it raised, and the file and line that it came from, in a line."""
    what = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        line = f"{error.filename}, line {error.lineno}"
        what = f"{type(error).__name__}: {error.msg}"
    else:
        ours = str(Path(__file__).parents[1])
        traced = traceback.extract_tb(error.__traceback__)
        frames = [frame for frame in traced if not frame.filename.startswith(ours)]
        last = [frame for frame in frames if frame.filename == extension.name] or frames
        line = f"{last[-1].filename}, line {last[-1].lineno}"
    return InputError(f"{where}: {' '.join(what.split())} ({line})")


def origin_of(module: str) -> str:
    """The file or the package that a module is of."""
    return _files[module].name if module in _files else module.partition(".")[0]


def source_sha256(module: str) -> str:
    """Of the extension's file, or of all .py files of the package that a module is in."""
    if module in _files:
        return _files[module].sha256
    top = sys.modules[module.partition(".")[0]]
    folders = [Path(folder) for folder in getattr(top, "__path__", [])]
    files = {path.relative_to(folder).as_posix(): path for folder in folders for path in folder.rglob("*.py")}
    if not files:
        if not getattr(top, "__file__", None):
            raise InputError(f"A function of {module} is in no file; write it into one, and name that.")
        files = {"": Path(str(top.__file__))}
    content = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
