"""Train the full model on a task, and score it."""

from typing import Any

from lottery_ray.experiment.nodes import Finetune
from lottery_ray.inputs.tasks import pruning_score
from lottery_ray.networks import weights
from lottery_ray.networks.weights import architecture_sizes, save_network
from lottery_ray.training.curves import Curves
from lottery_ray.training.loop import train
from lottery_ray.training.scoring import DevSet
from lottery_ray.trial.work import Work


def finetune_node(node: Finetune, work: Work) -> dict[str, Any]:
    """The result of `Finetune.columns`; leaves predictions, and the network that searches start from."""
    task = node.definition
    train_set, dev = work.encoded(node, "train", node.recipe), work.scored_on(node, "dev", node.recipe)
    network = work.initial(node, "random" if node.start == "random" else "pretrained")
    if node.start == "frozen":
        weights.freeze_encoder(network)
    curves = training_curves(work, dev)
    train(network, train_set, task, node.seed, node.recipe, work.accelerator, work.checkpoints, curves)
    logits = dev.logits(network)
    if node.start == "pretrained":
        save_network(network, work.attempt.folder)
        work.tokenizer(node).save_pretrained(work.attempt.folder)
    work.write_predictions("predictions.arrow", dev.encoded, logits)
    score = dev.score(logits)
    curves.end(score)
    return {
        "score": score,
        "pruning_score": pruning_score(task.metric, dev.encoded.labels, logits),
        "train_examples": len(train_set),
        "dev_examples": len(dev.encoded),
        "dev_tokens": float(dev.encoded.lengths.mean()),
        "architecture": architecture_sizes(network),
    }


def training_curves(work: Work, dev: DevSet) -> Curves:
    """Of a training whose epochs are scored on dev if its trackers want that."""
    return Curves(work.run, dev if work.run.dev_curves else None)
