"""What survives of heads and MLPs, over seeds and tasks."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.models.auto import AutoModelForSequenceClassification

from analysis.masks import survival
from analysis.records.method_names import MAGNITUDE
from analysis.records.network_names import GOOD, STOPPING
from analysis.records.root import MaskFile
from lottery_ray.experiment import masks
from lottery_ray.experiment.masks import write_masks
from lottery_ray.networks.network import Network
from lottery_ray.networks.pruning import kept_weights, prunable, weight_mask
from lottery_ray.networks.weights import architecture_sizes
from tests import picked, released
from tests.networks.test_families import CONFIGS

IDENTITY = dict.fromkeys(masks.IDENTITY)


def test_survival_of_the_papers_masks(tmp_path: Path) -> None:
    """protocol.md, sections 5 and 8.2."""
    frame = released.frame()
    frame = frame[frame["family"].isin(["heads_mlps", "heads_mlps_super"])]
    kept = survival.survival_by_mask(released.files(frame, tmp_path), None)
    table, tasks = survival.survival(kept), survival.task_survival(kept)
    good = frame[frame["family"] == "heads_mlps"]
    for task, component, name in product(released.TASKS, ("heads", "mlp"), ("kept", "sd")):
        cells = picked.rows(table, task=task, network="good", component=component)
        golden = released.printed(f"heads_mlps, {'MLPs' if component == 'mlp' else 'heads'}:")[task]
        assert (cells["kept"] == 1).sum() == int(golden["super(5/5)"])
        assert (cells["kept"] == 0).sum() == int(golden["never(0/5)"])
        supers = picked.rows(table, task=task, network="super", component=component)
        assert (supers["kept"] == (cells["kept"] == 1).to_numpy()).all()
        own = picked.rows(good, task=task, component={"heads": "head"}.get(component, "mlp"))
        by_cell = own.groupby(["layer", "index"])["kept"]
        np.testing.assert_allclose(cells[name], by_cell.agg({"kept": "mean", "sd": "std"}[name]))
    counts = good.groupby(["component", "layer", "index", "seed"], observed=True)["kept"].sum()
    cells = picked.rows(tasks, network="good")
    by_cell = counts.groupby(["component", "layer", "index"], observed=True)
    np.testing.assert_allclose(cells["tasks"], by_cell.mean())
    np.testing.assert_allclose(cells["sd"], by_cell.std())
    assert set(cells["of"]) == {9}
    assert set(cells["seeds"]) == {5}


def tiny(family: str) -> Network:
    return Network(AutoModelForSequenceClassification.from_config(CONFIGS[family]()))


@pytest.mark.parametrize("family", CONFIGS)
def test_the_weights_of_a_head_are_those_that_pruning_it_takes(family: str) -> None:
    """But for the slice of the output projection's bias, which the paper counts and pruning leaves."""
    network = tiny(family)
    layers, width = network.shape
    for component, layer, index in (("heads", 1, 1), ("mlp", 0, 0)):
        heads, mlps = np.ones((layers, width), bool), np.ones(layers, bool)
        (heads if component == "heads" else mlps[:, None])[layer, index] = False
        kept = kept_weights(network, masks.structured_mask(heads, mlps))
        flat = np.concatenate([kept[name].numpy().ravel() for name in prunable(network)])
        table = masks.to_table(weight_mask(network, flat), "k", IDENTITY)
        shares = survival.weight_shares(table, width)
        assert len(shares) == layers * width + layers
        assert min(shares, key=lambda cell: shares[cell]) == (component, layer, index)
        bias = prunable(network).get(output_bias(network))
        own = 0 if bias is None or component == "mlp" else bias.numel() // width
        expected = own / (architecture_sizes(network)["head_weights"] + own)
        assert shares.pop((component, layer, index)) == pytest.approx(expected)
        assert set(shares.values()) == {1.0}


def output_bias(network: Network) -> str:
    adapter = network.adapter
    return f"model.{adapter.layers}.0.{adapter.attention_output}.bias"


def test_shares_of_random_masks_of_weights(tmp_path: Path) -> None:
    network = tiny("bert")
    layers, width = network.shape
    size = sum(parameter.numel() for parameter in prunable(network).values())
    files, expected = [], []
    for seed in range(2):
        flags = torch.rand(size, generator=torch.Generator().manual_seed(seed)).numpy() < 0.5
        mask = weight_mask(network, flags)
        by_name = {part.name.partition("layer.")[2]: part.kept.reshape(part.shape) for part in mask}
        rows = slice(*(np.array([1, 2]) * (by_name["0.attention.self.query.weight"].shape[0] // width)))
        pieces = [
            by_name[f"0.attention.self.{name}.{kind}"][rows]
            for name in ("query", "key", "value")
            for kind in ("weight", "bias")
        ]
        output = "0.attention.output.dense"
        pieces += [by_name[f"{output}.weight"][:, rows], by_name[f"{output}.bias"][rows]]
        expected.append(np.concatenate([piece.ravel() for piece in pieces]).mean())
        path = tmp_path / f"{seed}.arrow"
        write_masks(masks.to_table(mask, "k", IDENTITY), path)
        files.append(MaskFile("sst2", seed, MAGNITUDE, STOPPING, GOOD, 0, path))
    kept = survival.survival_by_mask(files, width)
    table = survival.survival(kept)
    assert len(table) == layers * width + layers
    head = {"component": "heads", "layer": 0, "index": 1}
    row = picked.row(table, **head)
    assert (row["kept"], row["sd"]) == pytest.approx((np.mean(expected), np.std(expected, ddof=1)))
    across = picked.row(survival.task_survival(kept), **head)
    assert (across["tasks"], across["of"]) == pytest.approx((np.mean(expected), 1))
    assert survival.survival_by_mask(files, None).empty
