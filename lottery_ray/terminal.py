"""What the commands have in common in a terminal: their flags, their errors, and that long work goes on."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin

import tyro
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

T = TypeVar("T")

FLAGS = (tyro.conf.FlagCreatePairsOff,)
_plain = ConstructorRegistry()


@_plain.primitive_rule
def _several(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """As tyro's own, which writes [STR [STR ...]], and nothing where there are none."""
    kind, *rest = get_args(info.type) or (None,)
    if get_origin(info.type) is not tuple or rest != [Ellipsis] or kind not in (int, str):
        return None
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="NAME ..." if kind is str else "INT ...",
        instance_from_str=lambda given: tuple(map(kind, given)),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: list(map(str, value)) or ["none"],
    )


@_plain.primitive_rule
def _or_none(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """As tyro's own, which writes {None}|INT."""
    kind, *rest = get_args(info.type) or (None,)
    if rest != [NoneType] or kind not in (int, float, str):
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=kind.__name__.upper(),
        instance_from_str=lambda given: None if given[0] == "None" else kind(given[0]),
        is_instance=lambda value: value is None or isinstance(value, kind),
        str_from_instance=lambda value: [str(value)],
    )


def flags_of(command: Callable[..., T], description: str | None = None) -> T:
    """What a command, or a dataclass of flags, makes of the command line. Help and errors are tyro's."""
    _colours()
    return tyro.cli(command, description=description, config=FLAGS, registry=_plain)


def flags_of_one(presets: Mapping[str, tuple[str, T]], description: str | None) -> T:
    """The one of these that the command line names first, with its flags over it. presets: {name: (help,
    defaults)}."""
    _colours()
    return tyro.extras.overridable_config_cli(presets, description=description, config=FLAGS, registry=_plain)


def _colours() -> None:
    """tyro looks at standard output alone, and not at NO_COLOR."""
    plain = "NO_COLOR" in os.environ or not sys.stderr.isatty()
    tyro._experimental_options["ansi_codes"] = not plain


def show_error(error: Exception) -> None:
    """In one line, which a terminal may wrap."""
    said = f"error: {' '.join(str(error).split())}"
    Console(stderr=True, soft_wrap=True).print(said, style="red", highlight=False, markup=False)


@contextmanager
def at_work(console: Console, words: str) -> Iterator[Callable[[str], Any]]:
    """Shows, where there is a terminal, what is done and for how long. What it gives is called with words for
    the next step."""
    shown = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    task = shown.add_task(words)
    with shown if console.is_terminal else nullcontext():
        yield lambda words: shown.reset(task, description=words)
