"""What one node has done, the next ones in the same process or on the same machine do not do again."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lottery_ray.experiment.nodes import Finetune, Search, Ticket
from lottery_ray.experiment.plan import plan
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.experiment.study import Study
from lottery_ray.networks import weights
from lottery_ray.networks.weights import read_saved
from lottery_ray.storage.store import Record, Store
from lottery_ray.training import scoring
from lottery_ray.trial import work
from lottery_ray.trial.node import run_node
from lottery_ray.trial.settings import TrialSettings
from tests.folders import data_folder, model_folder


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often these were called, which do what they do."""
    counts: Counter[str] = Counter()

    def counted(module: Any, name: str) -> None:
        original: Callable[..., Any] = getattr(module, name)

        def call(*arguments: Any, **options: Any) -> Any:
            counts[name] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, call)

    for module, name in ((work, "encode"), (work, "read_saved"), (scoring, "predict")):
        counted(module, name)
    return counts


def test_data_is_tokenised_weights_are_read_and_full_models_are_scored_once(
    tmp_path: Path, calls: Counter[str]
) -> None:
    model, folder = model_folder(tmp_path / "model"), data_folder(tmp_path / "data", "mrpc")
    study = Study(
        *(str(model), str(folder), ("mrpc",), (1,), ("magnitude",), ("good", "random", "bad")),
        recipe=Recipe(epochs=1),
    )
    planned, root = plan(study), str(tmp_path / "root")
    Store.open(root, create=True)
    records: dict[Any, Record] = {}
    for node in planned.nodes:
        before = calls.copy()
        records[node] = run_node(node, TrialSettings(root, planned.folders, cpu=True))
        if isinstance(node, Search):
            steps = records[node].result["steps"]
            # the full model's score is that of its fine-tuning
            assert (calls - before)["predict"] == len(steps) - 1 > 0
            tuned = records[node.finetune].result["pruning_score"]
            assert steps[0]["score"] == records[node].result["full_score"] == tuned
    assert {type(node) for node in records} == {Finetune, Search, Ticket}
    # its training and its dev set; one fine-tuned model for the search and three tickets
    assert calls["encode"] == 2
    assert calls["read_saved"] == 1


def test_a_network_may_be_changed_without_changing_what_was_read(tmp_path: Path) -> None:
    saved = read_saved(model_folder(tmp_path / "model"))
    before = {name: value.clone() for name, value in saved.weights.items()}
    changed = weights.restored(saved).model.state_dict()
    with torch.no_grad():
        for weight in changed.values():
            weight.fill_(7)
    found = weights.restored(saved).model.state_dict()
    assert found.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in found.items())
