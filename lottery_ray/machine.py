"""The C library's allocator, set for training on a CPU."""

import ctypes
import functools
import platform
from typing import Any


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
