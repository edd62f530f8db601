"""A subnetwork: its mask, scored pruned on the fine-tuned weights, and retrained."""

from typing import Any

from lottery_ray.experiment import draws, masks, search
from lottery_ray.experiment.draws import draw_mask
from lottery_ray.experiment.masks import Mask
from lottery_ray.experiment.nodes import Ticket
from lottery_ray.experiment.recipe import Layout
from lottery_ray.networks import released
from lottery_ray.networks.network import Network
from lottery_ray.networks.pruning import magnitudes, prune, weight_mask, weights_kept
from lottery_ray.networks.weights import save_network
from lottery_ray.streams import generator
from lottery_ray.training.loop import train
from lottery_ray.trial.finetune import training_curves
from lottery_ray.trial.good_masks import good_mask, ranked_weights
from lottery_ray.trial.work import Work


def ticket_node(node: Ticket, work: Work) -> dict[str, Any]:
    """The result of `Ticket.columns`; leaves its mask, predictions pruned and retrained, and where that is
    wanted the retrained weights."""
    task, full = node.finetune.definition, node.finetune
    goods = [good_mask(source, node.size, work) for source in node.sources]
    mask = _drawn(node, goods, work)
    work.write_mask(mask)

    train_set, dev = work.encoded(full, "train", node.recipe), work.scored_on(full, "dev", node.recipe)
    network = work.fine_tuned(full)
    kept = weights_kept(network, mask)
    _prune(network, mask, node, "compacted")
    pruned = dev.logits(network)
    work.write_predictions("pruned.arrow", dev.encoded, pruned)

    work.accelerator.free_memory()
    network = work.initial(full, node.start)
    _prune(network, mask, node, node.recipe.layout)
    curves = training_curves(work, dev)
    train(network, train_set, task, full.seed, node.recipe, work.accelerator, work.checkpoints, curves)
    if node.removal == "released":
        released.reload(network, mask)
    retrained = dev.logits(network)
    work.write_predictions("retrained.arrow", dev.encoded, retrained)
    if work.settings.keep_retrained:
        save_network(network, work.attempt.folder / "retrained", mask)
    curves.end(dev.score(retrained))
    good = draw_mask("super", goods, generator())
    return {
        "pruned": dev.score(pruned),
        "retrained": dev.score(retrained),
        "sizes": masks.sizes(mask),
        "weights": kept,
        "overlap_with_good": draws.common(mask, good),
        "forced_overlap": draws.forced_overlap(mask, good),
    }


def _prune(network: Network, mask: Mask, node: Ticket, layout: Layout) -> None:
    if node.removal == "released":
        released.lose_output_bias(network, mask)
    prune(network, mask, layout)


def _drawn(node: Ticket, goods: list[Mask], work: Work) -> Mask:
    """Its mask; what needs the weights of a network is drawn here, all else in `draws`."""
    rng = generator("mask", node.mask_stream)
    if node.kind_sha256 is not None:
        like = draw_mask("super", goods, generator())
        return draws.drawn_by_user(node.kind, node.kind_sha256, goods, like, rng)
    if node.kind == "pretrained":
        network = work.initial(node.finetune, "pretrained")
        return weight_mask(network, search.largest_of(magnitudes(network), masks.kept(goods[0])))
    match node.rule:
        case "largest_removed":
            network, scores = ranked_weights(node.search, work)
            removed = search.largest_of(scores, scores.size - masks.kept(goods[0]))
            return weight_mask(network, ~removed)
        case "bernoulli":
            return draws.bernoulli(goods[0], _released_stream(node, goods[0]) or rng)
        case "released":
            sources = [source.key for source in node.sources]
            stream = generator("super_bad", *sources, str(node.size))
            bad = draw_mask("super_bad", goods, stream, "released")
            return bad if node.kind == "super_bad" else draws.released_super_random(goods, bad, rng)
    return draw_mask(node.kind, goods, rng)


def _released_stream(node: Ticket, good: Mask) -> draws.Stream | None:
    """That of the released mask, if it is one of these."""
    if node.size != "stopping" or node.draw != 0 or node.search.method.name != "structured":
        return None
    components = sum(part.kept.size for part in good)
    return draws.released_stream(node.finetune.task, node.finetune.seed, components)
