"""A node as a run of Weights & Biases, its artifacts with their lineage, and what waits to be uploaded.

A run keeps its files in ROOT/wandb, or, where the root is not on this machine, in a folder that is copied
there if the run ends before all is uploaded. So nothing is lost where the service does not answer, and
`wandb sync` uploads it later.
"""

import os
import random
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from lottery_ray.errors import InputError
from lottery_ray.experiment.graph import Node, labels, node_title
from lottery_ray.storage.store import Record, Store
from lottery_ray.tracking.artifacts import Artifact, for_wandb, left_by, read_from_outside
from lottery_ray.tracking.settings import Mode, Tracking, node_config

WANDB_FOLDER = "wandb"
INIT_SECONDS = 30.0
"""The longest that a run waits for the service when it begins."""
FINISH_SECONDS = 120.0
"""The longest that it waits at its end until all is uploaded."""
SILENCE = 600.0
"""For so many seconds after the service has not answered, a process does not ask it again."""

AXIS = "step"

NO_ANSWER = "did not respond|refused|reset|no such host|timeout|deadline|dial tcp|returned error [45]"
"""In what wandb says where the service could not be asked."""

WandbTable = tuple[Sequence[str], list[Any]]
"""Columns, and rows, each of them a list."""

_asks_again = 0.0
_has_begun = False

NOT_LOGGED_IN = (
    "--wandb online: nobody is logged in to W&B here. Run wandb login, or set WANDB_API_KEY (on a cluster, on"
    " every machine). --wandb offline needs no account, and wandb sync uploads its runs later."
)


def check_wandb(tracking: Tracking) -> str | None:
    """See `trackers.check_trackers`."""
    try:
        import wandb
    except ModuleNotFoundError:
        raise InputError(
            f"--wandb {tracking.wandb}: wandb is not installed. Install lottery-ray[wandb]."
        ) from None
    if tracking.wandb == "offline":
        return None
    wandb.setup(settings=_settings())
    # trials on this machine would inherit it, and share this process's own service
    os.environ.pop("WANDB_SERVICE", None)
    try:
        logged_in = wandb.login(prompt=False, verify=True)
    except wandb.errors.Error as error:
        why = " ".join(str(error).split())
        if re.search(NO_ANSWER, why):
            return "W&B does not answer. Until it does, runs are kept in the root, to be uploaded later."
        raise InputError(
            f"--wandb online: W&B refuses the API key ({why}). Run wandb login --relogin, or set"
            " WANDB_API_KEY."
        ) from None
    if not logged_in:
        raise InputError(NOT_LOGGED_IN)
    return None


def _settings() -> Any:
    """Without what would print among a sweep's lines, or stop its process, or tell of use."""
    # wandb reports its own faults, also offline
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        symlink=False,
        disable_git=True,
        x_save_requirements=False,
        init_timeout=INIT_SECONDS,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
        # what the board's button for stopping a run would interrupt may be another one's work by then
        stop_fn=lambda: None,
    )


@dataclass(frozen=True)
class WandbRun:
    """One run. Make it with `start_run`, or `run_of_node`.

    run: wandb's. store: of the root where its files are kept. folder: in which wandb has them.
    """

    run: Any
    store: Store
    folder: Path

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """One point of each of these curves. Where a run goes on offline its rows are numbered anew, so the
        axis is a curve of its own."""
        self.run.log({AXIS: step, **values}, step=step)

    def show(
        self,
        numbers: Mapping[str, float],
        tables: Mapping[str, WandbTable],
        files: Mapping[str, Path],
        at: int,
    ) -> None:
        """Numbers, tables, figures (PNG files) and pages (HTML files) by name, as they are at this point of
        the axis, at which the run may have been before."""
        import wandb

        shown: dict[str, Any] = {AXIS: at, **numbers}
        for name, (columns, rows) in tables.items():
            shown[name] = wandb.Table(columns=list(columns), data=rows, allow_mixed_types=True)
        for name, file in files.items():
            is_page = file.suffix == ".html"
            shown[name] = wandb.Html(str(file), inject=False) if is_page else wandb.Image(str(file))
        self.run.log(shown)

    def end(self, values: Mapping[str, Any]) -> None:
        """What came out, as tables of runs show it."""
        self.run.summary.update(dict(values))

    def read(self, node: Node, inputs: Mapping[Node, Record], fetched: Path) -> None:
        """See `trackers.Tracker`."""
        outside = read_from_outside(node)
        parents = [made for parent, record in inputs.items() for made in self._left(parent, record, fetched)]
        for artifact in (*outside, *parents):
            self._add(artifact, read=True)

    def leave(self, node: Node, record: Record, fetched: Path) -> None:
        """See `trackers.Tracker`. Files must stay until the run is finished."""
        for artifact in self._left(node, record, fetched):
            self._add(artifact, read=False)

    def _left(self, node: Node, record: Record, fetched: Path) -> list[Artifact]:
        uploaded = self.store.local or not self.run.offline
        return left_by(node, record, self.store, fetched if uploaded else None)

    def _add(self, artifact: Artifact, *, read: bool) -> None:
        """As use_artifact and log_artifact do for what is new to the service. But the first refuses offline,
        and online both wait for the service, and keep nothing for wandb sync."""
        made = for_wandb(artifact)
        made.finalize()
        aliases = [] if read else ["latest"]
        self.run._interface.publish_artifact(
            self.run, made, aliases, None, finalize=True, is_user_created=read, use_after_commit=read
        )

    def finish(self, *, failed: bool) -> None:
        """Wait until all is uploaded. Raises TimeoutError if it cannot be; it is kept in the root then."""
        global _asks_again
        files = Path(self.run.settings.sync_dir)
        uploaded = False
        try:
            _finish(self.run, int(failed))
            uploaded = not self.run.offline
        except TimeoutError:
            _asks_again = time.monotonic() + SILENCE
            raise
        finally:
            if uploaded:
                # and what is left of runs of this node that were killed: this one has gone on from them
                _remove(files.parent, self.run.id)
            elif not self.store.local:
                self.store.copy_folder(files, f"{WANDB_FOLDER}/{files.name}")
            if not self.store.local:
                shutil.rmtree(self.folder, ignore_errors=True)


def _finish(run: Any, exit_code: int) -> None:
    """Raises what wandb raises, or TimeoutError: where it has artifacts to upload it waits longer than it is
    told to."""
    raised: list[Exception] = []

    def finish() -> None:
        try:
            run.finish(exit_code=exit_code)
        except Exception as error:
            raised.append(error)

    finishing = threading.Thread(target=finish, daemon=True)
    finishing.start()
    finishing.join(FINISH_SECONDS + 5)
    if finishing.is_alive():
        _end_service()
        raise TimeoutError(f"not all was uploaded within {FINISH_SECONDS:.0f} s")
    if raised:
        raise raised[0]


def _end_service() -> None:
    """End wandb's own process beside this one, which holds on to what it cannot send, and to the id of a run
    that could not begin. It has written all that it was told to the run's file."""
    import wandb

    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if child.name().startswith("wandb-core"):
                child.kill()
                child.wait()
    # it notices that its process has gone
    with suppress(Exception):
        wandb.teardown()
    wandb.setup(settings=_settings())


def _remove(folder: Path, id_: str) -> None:
    for files in folder.glob(f"run-*-{id_}"):
        shutil.rmtree(files, ignore_errors=True)


def start_run(
    tracking: Tracking, store: Store, warnings: list[str], spread: float = 0.0, **who: Any
) -> WandbRun:
    """Begin a run, or go on with it where it has begun; offline where the service does not answer, which is
    added to the warnings.

    who: id, name, job_type, tags and config, as wandb.init has them. spread: see `trackers.tracked`.
    """
    global _asks_again, _has_begun
    import wandb

    wandb.setup(settings=_settings())
    folder = Path(store.path) if store.local else Path(tempfile.mkdtemp(prefix="lottery_ray_wandb_"))
    entity, _, project = tracking.project.rpartition("/")
    options = {
        **{"dir": str(folder), "entity": entity or None, "project": project, "group": tracking.group(store)},
        # also beside a run that somebody else has in this process
        **{"resume": "allow", "reinit": "create_new"},
        **{"settings": _settings()},
        **who,
    }
    if tracking.wandb == "online" and time.monotonic() >= _asks_again:
        if not _has_begun:
            _has_begun = True
            # not from the seed of anything
            time.sleep(random.SystemRandom().uniform(0, spread))
        try:
            return WandbRun(_begin("online", options), store, folder)
        except wandb.errors.Error as error:
            _asks_again = time.monotonic() + SILENCE
            warnings.append(f"wandb: offline, since {type(error).__name__}: {' '.join(str(error).split())}")
            _end_service()
            _remove(folder / WANDB_FOLDER, who["id"])
    return WandbRun(_begin("offline", options), store, folder)


def _begin(mode: Mode, options: dict[str, Any]) -> Any:
    import wandb

    run = wandb.init(mode=mode, **options)
    run.define_metric(AXIS, hidden=True)
    run.define_metric("*", step_metric=AXIS)
    return run


def run_of_node(
    node: Node, tracking: Tracking, store: Store, warnings: list[str], spread: float = 0.0
) -> WandbRun:
    """The run of a node: its id is the node's key, its group the study, its job type the kind of node."""
    words = [labels(node)[name] for name in ("stage", "task", "method", "kind")]
    return start_run(
        tracking,
        store,
        warnings,
        spread,
        id=node.key,
        name=node_title(node),
        job_type=node.stage,
        tags=[word for word in words if word is not None],
        config=node_config(node),
    )


def how_to_upload(store: Store) -> str | None:
    """What is said of runs that wait in the root; nothing if none does."""
    waiting = [name for name in store.folders(WANDB_FOLDER) if "run-" in name]
    if not waiting:
        return None
    runs = "1 run of W&B waits" if len(waiting) == 1 else f"{len(waiting)} runs of W&B wait"
    place = store.named(WANDB_FOLDER)
    online = " --include-online" if any(name.startswith("run-") for name in waiting) else ""
    first = "" if store.local else f"copy {place} to this machine, and there "
    where = f"'{place}'/*run-*" if store.local else f"{WANDB_FOLDER}/*run-*"
    return f"{runs} to be uploaded: {first}wandb sync{online} {where}"
