"""One node of a study alone, in this process: the command that runs it, and a debugger at its exception."""

import pdb
import shlex
import sys
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path

from lottery_ray.errors import InputError
from lottery_ray.experiment.graph import Node, key, node_title, parents
from lottery_ray.experiment.plan import Plan

REPLAY = "A replay runs that node alone, without Ray; add --pdb to stop where the exception was raised."
LIST = "The same command with --dry-run --list-nodes lists them."


def command_line() -> str:
    """This process's, for a shell in any folder."""
    return f"cd {shlex.quote(str(Path.cwd()))} && {shlex.join([sys.executable, *sys.argv])}"


def command_of_node(command: str, key: str) -> str:
    """The command that runs one node of the study of a command line."""
    return f"{command} --node {key}"


def chosen_node(plan: Plan, beginning: str) -> Node:
    """The node whose key begins so. Raises InputError if there is none, or more than one."""
    found = [node for node in plan.nodes if key(node).startswith(beginning)]
    if not found:
        raise InputError(f"--node {beginning}: no node of this study has a key that begins so. {LIST}")
    if len(found) > 1:
        raise InputError(f"--node {beginning}: {len(found)} keys begin so; give more of it. {LIST}")
    return found[0]


def check_parents(node: Node, recorded: Set[str], root: str) -> None:
    """Raises InputError if one has no record. recorded: keys."""
    for parent in parents(node):
        if key(parent) not in recorded:
            raise InputError(
                f"--node {key(node)}: {node_title(node)} needs {node_title(parent)}, which is not done in"
                f" {root}. Run --node {key(parent)} first, or the same command without --node."
            )


@contextmanager
def debugger(wanted: bool) -> Iterator[None]:
    """Where it is wanted, opens pdb in the frame that raised an exception. It goes on when pdb is left."""
    try:
        yield
    except Exception as error:
        if not wanted:
            error.add_note("Next: the same command with --pdb stops where this was raised.")
        else:
            print(f"\n{type(error).__name__}: {error}", file=sys.stderr)
            print("pdb: up and down move between callers, p NAME shows a value, q leaves.", file=sys.stderr)
            pdb.post_mortem(error.__traceback__)
        raise
