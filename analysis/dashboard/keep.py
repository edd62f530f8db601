"""Keeps a study's own run and its workspace on Weights & Biases up to date, from the root alone.

One process does so for a root at a time, and says so in ROOT/wandb/dashboard.json. It may be any that reads
the root: jobs/dashboard.py, or the one beside a sweep.
"""

import contextlib
import multiprocessing
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import psutil

from analysis.dashboard import study_run, workspace
from analysis.dashboard.study_run import Progress, Shown
from analysis.tables import tables_of
from lottery_ray.errors import InputError
from lottery_ray.identity import digest, file_sha256
from lottery_ray.storage.store import Store
from lottery_ray.tracking.settings import Tracking
from lottery_ray.tracking.wandb_run import WANDB_FOLDER, WandbRun, start_run

EVERY = 10.0
"""Seconds between two looks at the root."""
TIMES = 9.0
"""After an update there is none for so many times as long as it took."""
SILENT = 900.0
"""Whoever keeps a dashboard and says nothing for so many seconds counts as gone."""
LAST_SECONDS = 300.0
"""The longest that a sweep waits for the last update."""
LATE = "W&B: the dashboard's last update did not come in time; jobs/dashboard.py makes it."
SIGN = f"{WANDB_FOLDER}/dashboard.json"


@dataclass
class Dashboard:
    """The dashboard of a root.

    say: how a person is told where it is, who else keeps it, and what went wrong; each once. only: see
    `tables_of`. warnings: what went wrong. run: once it has begun. url: of the workspace. other: who else
    keeps it up to date. now: the root as it was last seen.
    """

    store: Store
    tracking: Tracking
    say: Callable[[str], None]
    only: Sequence[str] = ()
    warnings: list[str] = field(default_factory=list)
    run: WandbRun | None = None
    url: str = ""
    other: str = ""
    now: Progress | None = None
    _state: str = ""
    _recorded: frozenset[str] = frozenset()
    _digests: dict[str, str] = field(default_factory=dict)
    _saved: frozenset[str] = frozenset()
    _told: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        # where wandb sync looks for the tables of an offline run
        if self.store.local:
            os.environ.setdefault("WANDB_DATA_DIR", f"{self.store.path}/{WANDB_FOLDER}")

    @property
    def id(self) -> str:
        """Of the run: that of this root and group."""
        return f"study-{digest([self.store.named(''), self.tracking.group(self.store)])[:12]}"

    def update(self) -> float:
        """Show what is new in the root. Returns how many seconds that took, 0 if there was nothing to do.
        What goes wrong is a warning."""
        begun = time.monotonic()
        worked = True
        with self._warned():
            self.now = study_run.progress(self.store)
            worked = self._claim() and self._update(self.now)
        self._tell()
        return time.monotonic() - begun if worked else 0.0

    @contextmanager
    def _warned(self) -> Iterator[None]:
        """What goes wrong inside is a warning."""
        try:
            yield
        except Exception as error:
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            self.warnings.append(kind + " ".join(str(error).split()))

    def _tell(self) -> None:
        lines = [f"W&B: {warning}" for warning in self.warnings]
        if self.other:
            lines.append(f"W&B: {self.other} keeps the dashboard up to date.")
        if self.url:
            lines.append(self.where)
        for line in lines:
            if line not in self._told:
                self._told.add(line)
                self.say(line)

    @property
    def where(self) -> str:
        return f"Dashboard: {self.url}"

    def _claim(self) -> bool:
        """Whether it is this process that keeps the dashboard; it is if nobody else does."""
        with contextlib.suppress(InputError, ValueError):
            said = self.store.read_json(SIGN)
            if not _is_gone(said):
                self.other, self.url = f"process {said['process']} of {said['host']}", said["url"]
                return False
        self.other = ""
        self._sign(time.time())
        return True

    def _sign(self, heard: float) -> None:
        said = {"host": platform.node(), "process": os.getpid(), "heard": heard, "url": self.url}
        # a root that may only be read has a dashboard too
        with contextlib.suppress(InputError):
            self.store.write_json(SIGN, said)

    def _update(self, now: Progress) -> bool:
        """Whether there was anything new."""
        state = digest([sorted(now.recorded), [asdict(each) for each in now.failures], now.alive])
        if state == self._state:
            return False
        if self.run is None:
            self.run = self._begin()
        if self.run.run.summary.get("state") != state:
            with self._records(now) as shown:
                self._show(self.run, now, shown)
            self.run.end({"state": state})
        self._save(self.run)
        self._state = state
        return True

    def _begin(self) -> WandbRun:
        return start_run(
            self.tracking,
            self.store,
            self.warnings,
            id=self.id,
            name=f"study {self.tracking.group(self.store)}",
            job_type="study",
            tags=["study"],
            config={"root": self.store.named("")},
        )

    @contextmanager
    def _records(self, now: Progress) -> Iterator[Shown]:
        """What the records say; nothing if it has been said, or if there is nothing to report on yet."""
        found = None
        if now.recorded != self._recorded:
            try:
                found = tables_of(self.store.uri, self.only)
                self._recorded = now.recorded
            except InputError as error:
                if now.reportable:
                    self.warnings.append(str(error))
        with study_run.shown(found) if found else nullcontext(Shown()) as shown:
            yield shown

    def _show(self, run: WandbRun, now: Progress, shown: Shown) -> None:
        """Tables and files that are as they were are not sent again."""
        every = shown.tables | {"tables/failures": study_run.failures(now.failures)}
        digests = {name: digest(table) for name, table in every.items()}
        digests |= {name: file_sha256(path) for name, path in shown.files.items()}
        new = {name for name, value in digests.items() if self._digests.get(name) != value}
        tables = {name: table for name, table in every.items() if name in new and table[1]}
        files = {name: path for name, path in shown.files.items() if name in new}
        run.show(now.numbers | shown.numbers, tables, files, now.done)
        self._digests |= digests

    def _save(self, run: WandbRun) -> None:
        names = frozenset(name for name in run.run.summary.keys() if not name.startswith("_"))  # noqa: SIM118
        if not run.run.offline and names != self._saved:
            self.url = workspace.save_workspace(run.run, sorted(names))
            self._saved = names
            self._sign(time.time())

    def close(self) -> None:
        """Wait until all is uploaded, as long as that may take."""
        if self.run is None:
            return
        with self._warned():
            self.run.finish(failed=self.now is not None and bool(self.now.failures) and not self.now.alive)
        self._tell()
        self._sign(0.0)


def _is_gone(said: dict[str, Any]) -> bool:
    """Whether it is not kept by somebody else any more, by what that one last said."""
    here = said["host"] == platform.node()
    ended = here and (said["process"] == os.getpid() or not psutil.pid_exists(said["process"]))
    return ended or time.time() - said["heard"] > SILENT


def follow(board: Dashboard, over: Callable[[float], bool]) -> None:
    """Keep a dashboard up to date. over: waits for so many seconds, or until all is over; whether it is."""
    try:
        while not over(max(EVERY, TIMES * board.update())):
            pass
        board.update()
    finally:
        board.close()


def until_swept(store: Store) -> Callable[[float], bool]:
    """See `follow`: all is over as soon as no sweep runs."""

    def over(seconds: float) -> bool:
        until = time.monotonic() + seconds
        while (alive := study_run.progress(store).alive) and time.monotonic() < until:
            time.sleep(min(EVERY, seconds))
        return not alive

    return over


class Beside:
    """A process that keeps the dashboard of a sweep, which loses nothing by it but a little of a processor's
    time. It ends with the sweep, however that one does. Use it as a context manager.

    say: how a person is told what `Dashboard` says; called from a thread.
    """

    def __init__(self, store: Store, tracking: Tracking, say: Callable[[str], None]) -> None:
        self.say = say
        spawn = multiprocessing.get_context("spawn")
        self._line, self._theirs = spawn.Pipe()
        arguments = (store.absolute, tracking, self._theirs)
        self.process = spawn.Process(target=_keep, args=arguments, daemon=True)
        self._hearing = threading.Thread(target=self._hear, daemon=True)

    def __enter__(self) -> "Beside":
        self.process.start()
        # so that the line ends where the process does
        self._theirs.close()
        self._hearing.start()
        return self

    def _hear(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self.say(self._line.recv())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if kind is not None:
            self.process.kill()
            return
        with contextlib.suppress(OSError):
            self._line.send("the sweep has ended")

    def wait(self) -> None:
        """For its last update, though not for long."""
        self._hearing.join(LAST_SECONDS)
        if self._hearing.is_alive():
            self.say(LATE)
        self.process.kill()


def _keep(root: str, tracking: Tracking, line: Connection) -> None:
    # the sweep is what Ctrl-C ends, and what it prints is not to be written over
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.nice(10)
    # that of the sweep, which may end before this one
    os.environ.pop("WANDB_SERVICE", None)
    over = threading.Event()
    threading.Thread(target=_listen, args=(line, over), daemon=True).start()
    board = Dashboard(Store.open(root), tracking, line.send)
    follow(board, over.wait)
    if board.url:
        line.send(board.where)
    line.close()


def _listen(line: Connection, over: threading.Event) -> None:
    try:
        line.recv()
    except (EOFError, OSError):
        os._exit(1)  # the sweep was killed
    over.set()
