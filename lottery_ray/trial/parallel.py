"""One trial in several processes of one machine, which train its network together.

They are started anew (a process that has used CUDA cannot be forked), meet in torch.distributed through a
file, talk over the loopback interface alone, and their Accelerators find the rank in the environment. By its
rank each has one of the GPUs that this process may use: Ray names them in CUDA_VISIBLE_DEVICES, which they
inherit. On CPUs it is gloo that sums, on GPUs NCCL, which no test has run so far.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
from torch.distributed import FileStore  # type: ignore[attr-defined]

LONGEST_WAIT = timedelta(hours=2)
"""Of the processes for one another; the first one may be writing a checkpoint to a slow place. None waits for
one that is gone: all end together."""


class ProcessDied(Exception):  # noqa: N818
    """One of the processes was killed; what it did may be done again."""


def run(function: Callable[..., Any], arguments: tuple[Any, ...], processes: int, *, cpu: bool) -> Any:
    """function(*arguments) in so many processes, or in this one; returns what the first one does.

    All of them end with this call, with this process, and when one has failed. Raises what that one raised,
    its own traceback as the cause, or ProcessDied.
    """
    if processes == 1:
        return function(*arguments)
    context = multiprocessing.get_context("spawn")
    workers, answers = [], []
    with tempfile.TemporaryDirectory(prefix="lottery_ray_") as folder:
        try:
            for rank in range(processes):
                answer, ours = context.Pipe(duplex=False)
                meeting = (f"{folder}/meeting", rank, processes, cpu)
                workers.append(context.Process(target=_work, args=(ours, meeting, function, arguments)))
                workers[-1].start()
                # so that its end closes the pipe
                ours.close()
                answers.append(answer)
            return _first_answer(answers)
        finally:
            for worker in workers:
                worker.kill()
                worker.join()


def _first_answer(answers: list[Connection]) -> Any:
    found: dict[Any, Any] = {}
    while len(found) < len(answers):
        failures = []
        ready: list[Any] = wait([answer for answer in answers if answer not in found])
        for answer in ready:
            try:
                found[answer], failure = answer.recv()
            except EOFError:
                raise ProcessDied(f"One of a trial's {len(answers)} processes died.") from None
            failures += [failure] if failure else []
        for error, log in failures:
            raise error from RuntimeError(log)
    return found[answers[0]]


def _work(
    answer: Connection, meeting: tuple[str, int, int, bool], function: Callable[..., Any], arguments: Any
) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _meet(*meeting)
        answer.send((function(*arguments), None))
    except Exception as error:
        answer.send((None, (_sendable(error), traceback.format_exc())))
    # until all have answered, or one has failed; if this one went first, others would fail in its wake
    threading.Event().wait()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _meet(file: str, rank: int, processes: int, cpu: bool) -> None:
    local = "lo0" if sys.platform == "darwin" else "lo"
    os.environ |= {"GLOO_SOCKET_IFNAME": local, "NCCL_SOCKET_IFNAME": local}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    # or Accelerate sets the threads itself
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.distributed.init_process_group(
        "gloo" if cpu else "nccl",
        store=FileStore(file, processes),
        rank=rank,
        world_size=processes,
        timeout=LONGEST_WAIT,
    )


def _sendable(error: Exception) -> Exception:
    """Some exceptions cannot be made again from what they say."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(*traceback.format_exception_only(error))
    return error
