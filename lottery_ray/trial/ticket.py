"""What each kind of node does: leave its artifacts in the attempt, and return its result."""

import functools
import itertools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from lottery_ray import extending
from lottery_ray.criteria import own as criteria
from lottery_ray.criteria.gradient import predict, predict_with_gradients, predict_with_importance
from lottery_ray.experiment import draws as tickets
from lottery_ray.experiment import masks, search
from lottery_ray.experiment.masks import Mask
from lottery_ray.experiment.nodes import (
    Finetune,
    Layout,
    Magnitude,
    Node,
    NullDraws,
    Pretrain,
    Search,
    Size,
    Structured,
    Ticket,
    key,
    labels,
)
from lottery_ray.inputs.tasks import Task, pruning_score, score
from lottery_ray.networks import batches as data
from lottery_ray.networks import released
from lottery_ray.networks import weights as models
from lottery_ray.streams import generator
from lottery_ray.training.curves import Curves
from lottery_ray.training.loop import train
from lottery_ray.trial.pretrain import pretrain
from lottery_ray.trial.work import Work


@functools.singledispatch
def execute(node: Node, work: Work) -> dict[str, Any]:
    """Do a node's work, leave its artifacts in the attempt, and return its result."""
    raise TypeError(type(node))


@execute.register
def _pretrain(node: Pretrain, work: Work) -> dict[str, Any]:
    return dict(pretrain(node, work.attempt.folder, work.accelerator, work.checkpoints, Curves(work.run)))


@execute.register
def _finetune(node: Finetune, work: Work) -> dict[str, Any]:
    task = node.definition
    train_set, dev = (work.encoded(node, rows, node.recipe) for rows in ("train", "dev"))
    network = work.initial(node, "random" if node.start == "random" else "pretrained")
    if node.start == "frozen":
        models.freeze_encoder(network)
    curves = _curves(work, network, dev, task)
    train(network, train_set, task, node.seed, node.recipe, work.accelerator, work.checkpoints, curves)
    logits = predict(network, dev, work.accelerator, micro_batch=work.evaluated)
    if node.start == "pretrained":
        models.save(network, work.attempt.folder)
        work.tokenizer(node).save_pretrained(work.attempt.folder)
    _write_predictions(work.attempt.folder / "predictions.arrow", dev, logits)
    dev_score = score(task.metric, dev.labels, logits)
    curves.end(dev_score)
    return {
        "score": dev_score,
        "pruning_score": pruning_score(task.metric, dev.labels, logits),
        "train_examples": len(train_set),
        "dev_examples": len(dev),
        "dev_tokens": float(dev.lengths.mean()),
        "architecture": models.architecture(network),
    }


def _curves(work: Work, network: models.Network, dev: data.Encoded, task: Task) -> Curves:
    def dev_score() -> float:
        logits = predict(network, dev, work.accelerator, micro_batch=work.evaluated)
        return score(task.metric, dev.labels, logits)

    return Curves(work.run, dev_score if work.run.dev_curves else None)


@execute.register
def _search(node: Search, work: Work) -> dict[str, Any]:
    network = work.fine_tuned(node.finetune)
    encoded = work.encoded(node.finetune, node.data, node.finetune.recipe)
    if isinstance(node.method, Structured):
        steps, good = _search_structured(node, node.method, network, encoded, work)
    else:
        steps, good = _search_magnitude(node, node.method, network, encoded, work)
    _write_mask(work.attempt.folder / "mask.arrow", node, good)
    full = steps[0]["score"]
    kept = next(step for step in reversed(steps) if step["accepted"])
    return {
        "full_score": full,
        "floor": node.floor * full,
        "score": kept["score"],
        "examples": len(encoded),
        "steps": steps,
        "sizes": masks.sizes(good),
    }


def _search_structured(
    node: Search, method: Structured, network: models.Network, encoded: data.Encoded, work: Work
) -> tuple[list[dict[str, Any]], Mask]:
    task = node.finetune.definition

    rng = generator("criterion", key(node))

    steps_done = itertools.count()

    def look(heads: np.ndarray, mlps: np.ndarray) -> search.Scored:
        seen = network, encoded, task, heads, mlps
        if method.criterion is None:
            logits, importance = predict_with_importance(*seen, work.accelerator, method, work.evaluated)
        else:
            logits, *gradients = predict_with_gradients(*seen, work.accelerator, work.evaluated)
            given = criteria.Look(*seen, gradients[0], gradients[1], work.accelerator, rng)
            importance = criteria.importance(method.criterion, method.criterion_sha256, given)
        found = pruning_score(task.metric, encoded.labels, logits)
        gone = {"heads_sparsity": 1 - float(heads.mean()), "mlps_sparsity": 1 - float(mlps.mean())}
        work.run.log({"score": found} | gone, next(steps_done))
        return search.Scored(found, importance)

    steps = search.structured(look, network.shape, method, node.floor, node.down_to)
    _write_numbered(work.attempt.folder / "states.arrow", node, [_mask_of(step) for step in steps], "step")
    return [
        {
            "phase": step.phase,
            "score": step.scored.score,
            "accepted": step.accepted,
            "kept": {"heads": int(step.heads.sum()), "mlp": int(step.mlps.sum())},
        }
        for step in steps
    ], _mask_of(search.last_accepted(steps))


def _mask_of(step: search.StructuredStep) -> Mask:
    importance = step.scored.importance
    return masks.structured_mask(step.heads, step.mlps, importance.heads, importance.mlps)


def _search_magnitude(
    node: Search, method: Magnitude, network: models.Network, encoded: data.Encoded, work: Work
) -> tuple[list[dict[str, Any]], Mask]:
    task = node.finetune.definition
    # of the same network on the same rows
    full = work.inputs[node.finetune].result["pruning_score"] if node.data == "dev" else None
    steps_done = itertools.count()

    def look(kept: np.ndarray) -> float:
        found = float(full) if full is not None and kept.all() else scored(kept)
        sparsity = 1 - np.count_nonzero(kept) / kept.size
        work.run.log({"score": found, "weights_sparsity": sparsity}, next(steps_done))
        return found

    def scored(kept: np.ndarray) -> float:
        # masks of later steps lie within those of earlier ones, so zeroing in place is enough
        models.prune_weights(network, models.weight_mask(network, kept))
        logits = predict(network, encoded, work.accelerator, micro_batch=work.evaluated)
        return pruning_score(task.metric, encoded.labels, logits)

    scores = _magnitudes(network)
    if method.criterion is not None:
        rng = generator("criterion", key(node))
        given = criteria.WeightLook(network, encoded, task, work.accelerator, rng, work.evaluated)
        scores = criteria.weight_scores(method.criterion, method.criterion_sha256, given)
    steps, good = search.magnitude(scores, look, method, node.floor, node.down_to)
    return [
        {
            "phase": "weights" if number else "full",
            "score": step.score,
            "accepted": step.accepted,
            "kept": {"weight": step.kept},
            "threshold": step.threshold,
        }
        for number, step in enumerate(steps)
    ], models.weight_mask(network, good, scores if method.criterion is not None else None)


def _ranked(source: Search, work: Work) -> tuple[models.Network, np.ndarray]:
    """A fine-tuned network, and float32 (weights,): what a search ranked its weights by."""
    network = work.fine_tuned(source.finetune)
    if source.method.criterion is None:
        return network, _magnitudes(network)
    found = masks.from_table(masks.read(work.fetch(source, "mask.arrow") / "mask.arrow"))
    return network, masks.weight_scores(found)


def _magnitudes(network: models.Network) -> np.ndarray:
    """float32 (weights,), of the prunable ones."""
    weights = [parameter.detach().flatten() for parameter in models.prunable(network).values()]
    found: np.ndarray = torch.cat(weights).abs().cpu().numpy()
    return found


@execute.register
def _ticket(node: Ticket, work: Work) -> dict[str, Any]:
    task, full = node.finetune.definition, node.finetune
    goods = [_good_mask(source, node.size, work) for source in node.sources]
    mask = _draw(node, goods, work)
    _write_mask(work.attempt.folder / "mask.arrow", node, mask)

    train_set, dev = (work.encoded(full, rows, node.recipe) for rows in ("train", "dev"))
    network = work.fine_tuned(full)
    weights = models.weights_kept(network, mask)
    _prune(network, mask, node, "compacted")
    pruned = predict(network, dev, work.accelerator, micro_batch=work.evaluated)
    _write_predictions(work.attempt.folder / "pruned.arrow", dev, pruned)

    work.accelerator.free_memory()
    network = work.initial(full, node.start)
    _prune(network, mask, node, node.recipe.layout)
    curves = _curves(work, network, dev, task)
    train(network, train_set, task, full.seed, node.recipe, work.accelerator, work.checkpoints, curves)
    if node.removal == "released":
        released.reload(network, mask)
    retrained = predict(network, dev, work.accelerator, micro_batch=work.evaluated)
    _write_predictions(work.attempt.folder / "retrained.arrow", dev, retrained)
    if work.keep_retrained:
        models.save(network, work.attempt.folder / "retrained", mask)
    good = tickets.draw("super", goods, generator())
    dev_score = score(task.metric, dev.labels, retrained)
    curves.end(dev_score)
    return {
        "pruned": score(task.metric, dev.labels, pruned),
        "retrained": dev_score,
        "sizes": masks.sizes(mask),
        "weights": weights,
        "overlap_with_good": tickets.common(mask, good),
        "forced_overlap": tickets.forced_overlap(mask, good),
    }


def _prune(network: models.Network, mask: Mask, node: Ticket, layout: Layout) -> None:
    if node.removal == "released":
        released.lose_output_bias(network, mask)
    models.prune(network, mask, layout)


def _draw(node: Ticket, goods: list[Mask], work: Work) -> Mask:
    """Its mask; what needs the weights of a network is drawn here, all else in `tickets`."""
    good, rng = goods[0], generator("mask", node.mask_stream)
    if node.kind_sha256 is not None:
        like = tickets.draw("super", goods, generator())
        return extending.drawn(node.kind, node.kind_sha256, goods, like, rng)
    if node.kind == "pretrained":
        network = work.initial(node.finetune, "pretrained")
        return models.weight_mask(network, search.largest_of(_magnitudes(network), masks.kept(good)))
    if node.rule == "largest_removed":
        network, scores = _ranked(node.sources[0], work)
        removed = search.largest_of(scores, scores.size - masks.kept(good))
        return models.weight_mask(network, ~removed)
    if node.rule == "bernoulli":
        components = sum(part.kept.size for part in good)
        stream = tickets.released_stream(node.finetune.task, node.finetune.seed, components)
        published = node.size == "stopping" and node.draw == 0 and _both(node.sources[0].method)
        return tickets.bernoulli(good, stream if stream and published else rng)
    if node.rule == "released":
        sources = [key(source) for source in node.sources]
        bad = tickets.draw("super_bad", goods, generator("super_bad", *sources, str(node.size)), "released")
        return bad if node.kind == "super_bad" else tickets.released_super_random(goods, bad, rng)
    return tickets.draw(node.kind, goods, rng)


def _both(method: Structured | Magnitude) -> bool:
    return isinstance(method, Structured) and method.components == "both"


def _good_mask(source: Search, size: Size, work: Work) -> Mask:
    """What a search found, at its stopping size or read from its states at a share."""
    if size == "stopping":
        return masks.from_table(masks.read(work.fetch(source, "mask.arrow") / "mask.arrow"))
    if isinstance(source.method, Magnitude):
        network, scores = _ranked(source, work)
        return models.weight_mask(network, search.largest_of(scores, round(size * scores.size)))
    phases = [step["phase"] for step in work.inputs[source].result["steps"]]
    table = masks.read(work.fetch(source, "states.arrow") / "states.arrow")
    numbers = table["step"].to_numpy()
    path = [masks.from_table(table.filter(pa.array(numbers == number))) for number in search.path(phases)]
    return _at_share(path, source.method, size)


def _at_share(path: list[Mask], method: Structured, share: float) -> Mask:
    """A component that the method does not prune stays whole."""
    heads, mlps = masks.heads(path[0]), masks.mlps(path[0])
    if method.components != "mlps":
        scores = [masks.head_scores(state) for state in path]
        heads = search.at_share([masks.heads(state) for state in path], scores, share, method.last_head)
    if method.components != "heads":
        scores = [masks.mlp_scores(state) for state in path]
        mlps = search.at_share([masks.mlps(state) for state in path], scores, share)
    return masks.structured_mask(heads, mlps)


@execute.register
def _null_draws(node: NullDraws, work: Work) -> dict[str, Any]:
    task = node.finetune.definition
    good = _good_mask(node.source, node.size, work)
    dev = work.encoded(node.finetune, "dev", node.finetune.recipe)
    network = work.fine_tuned(node.finetune)

    def pruned(mask: Mask) -> float:
        return score(task.metric, dev.labels, _predict_under(network, mask, dev, work))

    def of_draw(number: int, mask: Mask) -> float:
        found = pruned(mask)
        work.run.log({"score": found}, number)
        return found

    # a larger number of draws adds to a smaller one
    stream = key(replace(node, draws=1))

    drawn: Iterable[Mask] = (
        tickets.draw(node.kind, (good,), generator("mask", stream, number)) for number in range(node.draws)
    )
    if isinstance(node.source.method, Structured):
        # masks of weights are large, and follow from their names
        drawn = list(drawn)
        _write_numbered(work.attempt.folder / "nulls.arrow", node, drawn, "number")
    return {
        "good": pruned(good),
        "scores": list(itertools.starmap(of_draw, enumerate(drawn))),
        "sizes": masks.sizes(good),
        "dev_examples": len(dev),
    }


def _predict_under(network: models.Network, mask: Mask, encoded: data.Encoded, work: Work) -> np.ndarray:
    """Logits of the network under a mask; it is whole again afterwards."""
    if mask[0].component != "weight":
        gates = models.full_gates(masks.heads(mask), masks.mlps(mask), work.accelerator.device)
        return predict(network, encoded, work.accelerator, gates, work.evaluated)
    whole = {name: parameter.detach().clone() for name, parameter in models.prunable(network).items()}
    models.prune_weights(network, mask)
    logits = predict(network, encoded, work.accelerator, micro_batch=work.evaluated)
    with torch.no_grad():
        for name, parameter in models.prunable(network).items():
            parameter.copy_(whole[name])
    return logits


def _write_mask(path: Path, node: Node, mask: Mask) -> None:
    masks.write(masks.to_table(mask, key(node), _mask_identity(node)), path)


def _mask_identity(node: Node) -> dict[str, Any]:
    flat = labels(node)
    return flat | {"size": flat["size"] or "stopping"}


def _write_numbered(path: Path, node: Node, drawn: list[Mask], column: str) -> None:
    """Many mask tables one after the other, with their number as a column."""
    tables = [masks.to_table(mask, key(node), _mask_identity(node)) for mask in drawn]
    numbered = [
        table.append_column(column, pa.array([number] * len(table), pa.int32()))
        for number, table in enumerate(tables)
    ]
    masks.write(pa.concat_tables(numbered), path)


def _write_predictions(path: Path, dev: data.Encoded, logits: np.ndarray) -> None:
    columns = {
        "idx": pa.array(dev.idx),
        "label": pa.array(dev.labels),
        "logits": pa.array(list(logits.astype(np.float32)), pa.list_(pa.float32())),
    }
    masks.write(pa.table(columns), path)
