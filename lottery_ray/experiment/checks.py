"""What of a study is refused before any trial starts, and what is said of it though it is not."""

from collections import Counter

from lottery_ray.errors import InputError
from lottery_ray.experiment.extensions import OWN_KINDS
from lottery_ray.experiment.methods import METHODS, Structured
from lottery_ray.experiment.nodes import SUPER
from lottery_ray.experiment.study import (
    BASELINES,
    Study,
    chosen_method,
    is_own_task,
    is_possible,
    kinds_of,
    known_kinds,
    known_methods,
    task_of,
)
from lottery_ray.inputs.data import HUB, MADE_HERE
from lottery_ray.inputs.tasks import EMBEDDED, TASKS

FEW = 500
"""Held-out rows below which a score on them is flagged: its standard error is above .02 at .8."""


def check_study(study: Study) -> None:
    """Raises InputError, saying what was wrong, where, and what would be right."""
    if (study.model == MADE_HERE) != (study.data == MADE_HERE):
        raise InputError("The embedded model knows only the embedded data: give both, or neither.")
    _check_names(study)
    _check_once("--tasks", study.tasks)
    _check_once("--seeds", study.seeds)
    _check_once("--sizes", study.sizes)
    for flag, share in (
        ("--floor", study.floor),
        ("--down-to", study.down_to),
        ("--choices.magnitude-step", study.choices.magnitude_step),
    ):
        if not 0 < share <= 1:
            raise InputError(f"{flag} {share}: must be above 0 and at most 1.")
    for flag, value in (
        ("--train-limit", study.train_limit),
        ("--random-draws", study.random_draws),
        ("--choices.magnitude-max-steps", study.choices.magnitude_max_steps),
        ("--recipe.epochs", study.recipe.epochs),
        ("--recipe.batch-size", study.recipe.batch_size),
        ("--recipe.threads", study.recipe.threads),
    ):
        if value is not None and value < 1:
            raise InputError(f"{flag} {value}: must be at least 1.")
    if study.null_draws < 0:
        raise InputError(f"--null-draws {study.null_draws}: must be at least 0.")
    if study.recipe.processes != 1:
        raise InputError(
            f"--recipe.processes {study.recipe.processes}: must be 1: a training runs in one process."
        )
    _check_search_data(study)
    _check_sizes(study)
    _check_kinds(study)


def _check_names(study: Study) -> None:
    """Of tasks, methods, kinds and baselines."""
    embedded = study.data == MADE_HERE
    tasks = [name for name in TASKS if (name in EMBEDDED) == embedded]
    for flag, chosen, known in (
        ("--tasks", study.tasks, tasks),
        ("--methods", study.methods, known_methods()),
        ("--kinds", study.kinds, known_kinds()),
        ("--baselines", study.baselines, BASELINES),
    ):
        for name in chosen:
            if name not in known:
                raise InputError(f"{flag} {name}: unknown; choose from {', '.join(known)}.")
    if study.data == HUB and (own := [name for name in study.tasks if is_own_task(name)]):
        raise InputError(f"--tasks {own[0]}: its data is not on the hub; name its folder with --data.")


def _check_search_data(study: Study) -> None:
    if not 0 <= study.held_out < 1:
        raise InputError(f"--held-out {study.held_out}: must be at least 0 and below 1.")
    if study.search_data == "held_out" and not study.held_out:
        raise InputError("--search-data held_out: no rows are held out; add --held-out 0.1, or use dev.")
    for task in study.tasks if study.held_out else ():
        apart = round(study.held_out * _rows(study, task))
        if not 1 < apart < _rows(study, task) - 1:
            raise InputError(
                f"--held-out {study.held_out}: holds {apart} of {task}'s {_rows(study, task)} rows out; leave"
                " some on either side."
            )


def _check_sizes(study: Study) -> None:
    shares = [size for size in study.sizes if not isinstance(size, str)]
    for share in shares:
        if not 0 < share < 1:
            raise InputError(f"--sizes {share}: must be stopping, or a share above 0 and below 1.")
    methods = [chosen_method(name, study.choices) for name in study.methods]
    if any(isinstance(method, Structured) for method in methods) and shares and min(shares) < study.down_to:
        raise InputError(
            f"--sizes {min(shares)}: searches stop at {'the floor' if study.down_to == 1 else study.down_to};"
            f" add --down-to {min(shares)}."
        )


def _check_kinds(study: Study) -> None:
    """Every kind and baseline must have something to be made of."""
    made: dict[str, tuple[object, str]] = {}
    several = len(study.seeds) > 1, "at least two --seeds"
    every_seed = [kind for kind, own in OWN_KINDS.items() if own.every_seed]
    made |= dict.fromkeys((*SUPER, *every_seed), several)
    made["transfer"] = len(study.tasks) > 1, "at least two --tasks"
    # a preset's kinds may go beyond some of the methods, but not all of them
    methods = [chosen_method(name, study.choices) for name in study.methods]
    if not any(kinds_of(study, method) for method in methods) and study.kinds:
        kind = next(kind for kind in known_kinds() if kind in study.kinds)
        right = [name for name in METHODS if is_possible(kind, chosen_method(name, study.choices))]
        made[kind] = False, f"--methods {' or '.join(right)}"
    for name in study.kinds:
        possible, needs = made.get(name, (True, ""))
        if not possible:
            raise InputError(f"--kinds {name}: needs {needs}.")
    for name, kinds in (("longer_bad", {"bad"}), ("random_ticket", {"good", "random"})):
        if name in study.baselines and not kinds & set(study.kinds):
            raise InputError(f"--baselines {name}: needs --kinds {' or '.join(sorted(kinds))}.")


def _check_once(flag: str, values: tuple[object, ...]) -> None:
    if not values:
        raise InputError(f"{flag}: none given; name at least one.")
    for value, count in Counter(values).items():
        if count > 1:
            raise InputError(f"{flag}: {value} is given {count} times; name each once.")


def few_held_out(study: Study) -> dict[str, int]:
    """{task: held-out rows} where a search has so few of them that its score says little."""
    rows = {name: int(_rows(study, name) * study.held_out) for name in study.tasks}
    return {name: count for name, count in rows.items() if study.search_data == "held_out" and count < FEW}


def _rows(study: Study, task: str) -> int:
    size = task_of(study, task).train_size
    return min(study.train_limit or size, size)
