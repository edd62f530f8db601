"""A new kind of node is one declaration: it runs everywhere, and is seen everywhere."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from analysis import analyse
from lottery_ray.executors import local, on_ray
from lottery_ray.experiment.graph import NODE_KINDS, labels, node_title, with_ancestors
from lottery_ray.experiment.nodes import Finetune
from lottery_ray.experiment.plan import Plan, plan
from lottery_ray.experiment.study import Site, Study
from lottery_ray.scheduling.dry_run import by_kind, list_nodes
from lottery_ray.scheduling.forecast import from_records
from lottery_ray.scheduling.progress import SweepProgress
from lottery_ray.storage.recorded import nodes_of
from lottery_ray.storage.store import Record, Store
from lottery_ray.tracking.settings import node_config
from tests.folders import data_folder, model_folder


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    """One fine-tuned model, and a node of the new kind."""
    from tests.executors.toy_kind import Careless, Confidence

    folder = tmp_path_factory.mktemp("inputs")
    model, data = model_folder(folder / "model"), data_folder(folder / "data", "mrpc")
    study = Study(str(model), str(data), ("mrpc",), (1,), ("magnitude",), ())
    found = plan(replace(study, recipe=replace(study.recipe, epochs=1)))
    (full,) = (node for node in found.nodes if isinstance(node, Finetune))
    yield replace(found, nodes=with_ancestors([Confidence(full)]))
    for kind in (Confidence, Careless):
        NODE_KINDS.pop(kind.stage)


def run(planned: Plan, executor: object, root: Path) -> tuple[dict[str, Record], str]:
    """Its records by kind, and what the progress display said."""
    store, said = Store.open(str(root), create=True), Console(file=io.StringIO(), width=300)
    progress = SweepProgress(planned.nodes, set(), said)
    with progress:
        executor.run_plan(planned, Site(str(root), gpus_per_trial=0), progress)  # type: ignore[attr-defined]
    return {record.labels["stage"]: record for record in store.records()}, said.file.getvalue()  # type: ignore


def test_it_runs_on_ray_and_in_debug_mode_and_is_seen_everywhere(planned: Plan, tmp_path: Path) -> None:
    full, node = planned.nodes
    on_a_cluster, said = run(planned, on_ray, tmp_path / "ray")
    here, _ = run(planned, local, tmp_path / "debug")
    found = here["confidence"]
    assert on_a_cluster["confidence"].result == found.result
    assert 0.5 <= found.result["confidence"] <= 1
    assert found.labels == labels(node)
    assert found.parents.keys() == {full.key}

    assert node_title(node) == "confidence mrpc seed 1"
    assert f"[2/2] {node_title(node)} · " in said

    records = list(Store.open(str(tmp_path / "debug")).records())
    assert set(nodes_of(records)) == {full, node}
    forecast = from_records(records)
    assert forecast.seconds(node) == pytest.approx(found.provenance["seconds"])
    assert forecast.seconds(node) != forecast.seconds(full)
    listed = Console(file=io.StringIO(), width=120)
    listed.print(by_kind(planned, {full.key}))
    list_nodes(planned, {full.key}, listed)
    text = listed.file.getvalue()  # type: ignore[attr-defined]
    assert "confidence       0       1    1" in text
    assert f"to run  {node.key}  {node_title(node)}" in text

    config = node_config(node)
    assert config["stage"] == "confidence"
    assert (config["temperature"], config["finetune.task"], config["finetune"]) == (1.0, "mrpc", full.key)

    costs = analyse(str(tmp_path / "debug")).costs
    assert set(costs["stage"]) == {"finetune", "confidence"}


def test_a_result_of_other_columns_than_declared_is_no_record(planned: Plan, tmp_path: Path) -> None:
    from tests.executors.toy_kind import Careless

    full = planned.nodes[0]
    assert isinstance(full, Finetune)
    node = Careless(full)
    with pytest.raises(TypeError, match=r"returned \['confidence'\]; its kind declares \['confidence', 'ent"):
        run(replace(planned, nodes=(full, node)), local, tmp_path)
    assert Store.open(str(tmp_path)).read(node.key) is None
