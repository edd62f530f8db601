"""Commands in a pseudo-terminal of a given size, as a person has them."""

import os
import pty
import re
import subprocess
import termios
from collections.abc import Sequence

from tests.places import JOBS

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def environment(**more: str) -> dict[str, str]:
    """This process's, without what says how wide or coloured a terminal is."""
    ours = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    return ours | {"TERM": "xterm-256color", "PYTHONUNBUFFERED": "1"} | more


def in_terminal(command: Sequence[str], columns: int = 80, answers: str = "", **more: str) -> tuple[str, int]:
    """All that a command writes, and its status. answers: are typed. more: environment variables."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (40, columns))
    with subprocess.Popen(
        command, stdin=its, stdout=its, stderr=its, env=environment(**more), cwd="/", start_new_session=True
    ) as process:
        os.close(its)
        os.write(ours, answers.encode())
        parts = []
        # the end of a pseudo-terminal is an error
        try:
            while part := os.read(ours, 65536):
                parts.append(part)
        except OSError:
            pass
        status = process.wait(timeout=300)
    os.close(ours)
    return b"".join(parts).decode().replace("\r\n", "\n"), status


def plain(text: str) -> str:
    return ESCAPES.sub("", text)


def job(name: str) -> str:
    return str(JOBS / f"{name}.py")
