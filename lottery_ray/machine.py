"""What this machine has and takes: the C library's allocator, memory, and the notice that it will be taken
away."""

import ctypes
import functools
import platform
import re
import resource
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

NOTICE = Path(tempfile.gettempdir()) / "lottery_ray_preemption_notice"
"""Touched when this machine was given notice (`cluster.preemption`)."""


def noticed_since(moment: float) -> bool:
    """Whether this machine was given notice after a moment (time.time())."""
    try:
        return NOTICE.stat().st_mtime > moment
    except FileNotFoundError:
        return False


@functools.cache
def reuse_blocks() -> Any:
    """The C library, once set; None where it is another than glibc.

    Large blocks, such as the gradient of the embeddings, are reused instead of returned to the kernel,
    which would clear their pages again at every step. One arena for all threads, since
    Tune runs each trial in a thread of its own, and each would keep its memory.
    """
    if platform.libc_ver()[0] != "glibc":
        return None
    libc = ctypes.CDLL(None)
    trim_threshold, mmap_threshold, arena_max = -1, -3, -8
    libc.mallopt(mmap_threshold, 2**30)
    libc.mallopt(trim_threshold, 2**31 - 1)
    libc.mallopt(arena_max, 1)
    return libc


def trim() -> None:
    """Return what is not in use to the kernel."""
    if libc := reuse_blocks():
        libc.malloc_trim(0)


def peak_memory() -> float:
    """MiB that this process has taken at its peak since `forget_peak`; where the system cannot tell, since it
    began."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text() if status.exists() else "")
    if found:
        return int(found[1]) / 1024
    # in bytes on a Mac
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def forget_peak() -> None:
    """Measure the peak anew. A sandbox may refuse, and then it is of the process so far."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
