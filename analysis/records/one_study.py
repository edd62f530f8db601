"""A report is about one study: records of several are refused, or one of them is chosen."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from analysis.records.method_names import is_choice
from lottery_ray.errors import InputError
from lottery_ray.experiment.nodes import Finetune, NullDraws, Pretrain, Search, Ticket
from lottery_ray.inputs.tasks import title
from lottery_ray.storage.published import Published
from lottery_ray.storage.store import Record

PER_RECORD = {"seed", "start", "kind", "kind_sha256", "draw", "draws", "size", "rule"}
PER_RECORD |= {"finetune", "source", "sources"}
"""Fields in which the records of one study and task differ as they should, beside the choices of
`method_names`; tickets may also be retrained for other epochs."""

NOUNS = {
    Finetune.stage: "fine-tuned models",
    Search.stage: "searches",
    Ticket.stage: "tickets",
    NullDraws.stage: "null draws",
}

ABSENT = "absent"


def chosen(uri: str, records: tuple[Record, ...], only: Sequence[str]) -> tuple[Record, ...]:
    """The records of those fine-tuned models whose identity has each FIELD=VALUE (a field that no model has
    is one of searches and tickets), and of what is made from them.

    Raises InputError if a choice has no = or leaves nothing.
    """
    models = _models(records)
    for choice in only:
        field, sign, value = choice.partition("=")
        if not sign:
            raise InputError(f"{choice}: give a choice as FIELD=VALUE, such as recipe.epochs=3.")
        flat = {record.key: _flat(_identity(record, models)) for record in records}
        stage = {r.labels["stage"] for r in records if field in flat[r.key]}
        asked = {Finetune.stage} if Finetune.stage in stage else stage
        left = {r.key for r in records if r.labels["stage"] in asked and flat[r.key].get(field) == value}
        if not left:
            known = sorted({flat[key][field] for key in flat if field in flat[key]})
            values = f"its values are {', '.join(known)}" if known else "no record has such a field"
            raise InputError(f"{uri} has nothing with {choice}: {values}.")
        records = _with_what_they_need(records, asked, left)
    return records


def _with_what_they_need(records: tuple[Record, ...], asked: set[str], left: set[str]) -> tuple[Record, ...]:
    """The records but those asked about that are not left, and those made from one that is gone."""
    gone = {record.key for record in records if record.labels["stage"] in asked and record.key not in left}
    while True:
        more = {r.key for r in records if r.key not in gone and gone & set(_made_from(r))}
        if not more:
            return tuple(record for record in records if record.key not in gone)
        gone |= more


def _made_from(record: Record) -> list[str]:
    identity = record.identity
    single = [identity.get(name) for name in ("finetune", "source")]
    return [key for key in (*single, *identity.get("sources", [])) if key]


def check(uri: str, records: Iterable[Record], only: Sequence[str] = ()) -> None:
    """Scores are averaged over seeds, so the records of one task must agree in all else, and fine-tuned
    models of all tasks in model and recipe. Raises InputError if they do not, saying in what, and how to
    choose. only: the choices made already.
    """
    every = tuple(records)
    if len({record.labels["stage"] == Published.stage for record in every}) > 1:
        raise InputError(
            f"{uri} holds published records and a study's own, which a report would average. Import published"
            " ones into a root of their own."
        )
    models = _models(every)
    groups: dict[tuple[str, str, str], list[dict[str, str]]] = defaultdict(list)
    for record in every:
        labels = record.labels
        if labels["stage"] not in NOUNS:
            continue
        flat = _flat({n: v for n, v in _identity(record, models).items() if n not in PER_RECORD})
        own = {name: value for name, value in flat.items() if not _may_differ(labels, name)}
        groups[labels["stage"], title(labels["task"]), labels["method"] or ""].append(own)
        if labels["stage"] == Finetune.stage:
            # the longest tasks alone may be trained in several processes
            shared = {n: v for n, v in own.items() if n.startswith(("model.", "recipe."))}
            shared.pop("recipe.processes", None)
            groups[Finetune.stage, "different tasks", ""].append(shared)
    stages = list(NOUNS)
    for (stage, of, _), identities in sorted(groups.items(), key=lambda group: stages.index(group[0][0])):
        if different := _differences(identities):
            field, values = next(iter(different.items()))
            words = [f"{name} ({', '.join(found)})" for name, found in different.items()]
            made = [f"--only {' '.join(map(_quoted, (*only, f'{field}={value}')))}" for value in values]
            ways = [way for value, way in zip(values, made, strict=True) if value != ABSENT]
            raise InputError(
                f"{uri} holds records of several studies: the {NOUNS[stage]} of {of} differ in"
                f" {', '.join(words)}. A report is about one study: choose it with {' or '.join(ways)}."
            )


def _quoted(choice: str) -> str:
    return f"'{choice}'" if " " in choice else choice


def _models(records: Iterable[Record]) -> dict[str, dict[str, Any]]:
    """{key: identity} of models that were pre-trained here."""
    return {record.key: record.identity for record in records if record.labels["stage"] == Pretrain.stage}


def _identity(record: Record, models: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """With the identity of a model made here in place of its key."""
    return {
        name: models.get(value, value) if isinstance(value, str) else value
        for name, value in record.identity.items()
    }


def _may_differ(labels: dict[str, Any], field: str) -> bool:
    epochs = labels["stage"] == Ticket.stage and field == "recipe.epochs"
    return epochs or (labels["stage"] != Finetune.stage and is_choice(field))


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """{"recipe": {"epochs": 3}} as {"recipe.epochs": "3"}."""
    flat: dict[str, str] = {}
    for name, item in value.items():
        flat |= _flat(item, f"{prefix}{name}.") if isinstance(item, dict) else {prefix + name: str(item)}
    return flat


def _differences(identities: list[dict[str, str]]) -> dict[str, list[str]]:
    """{field: its values} of the fields that differ."""
    found = {}
    for name in sorted(set().union(*identities)):
        values = sorted({identity.get(name, ABSENT) for identity in identities})
        if len(values) > 1:
            found[name] = values
    return found
