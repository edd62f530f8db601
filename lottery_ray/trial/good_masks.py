"""The good mask of a search, at its stopping size or read from its states at a share."""

import numpy as np
import pyarrow as pa

from lottery_ray.experiment import masks, search
from lottery_ray.experiment.masks import Mask
from lottery_ray.experiment.methods import Magnitude, Structured
from lottery_ray.experiment.nodes import Search, Size
from lottery_ray.networks.network import Network
from lottery_ray.networks.pruning import magnitudes, weight_mask
from lottery_ray.trial.work import Work


def good_mask(source: Search, size: Size, work: Work) -> Mask:
    """size: the stopping one, or a share of each kind of component."""
    if size == "stopping":
        return masks.from_table(work.mask(source))
    if isinstance(source.method, Magnitude):
        network, scores = ranked_weights(source, work)
        return weight_mask(network, search.largest_of(scores, round(size * scores.size)))
    phases = [step["phase"] for step in work.inputs[source].result["steps"]]
    table = work.mask(source, "states.arrow")
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


def ranked_weights(source: Search, work: Work) -> tuple[Network, np.ndarray]:
    """A fine-tuned network, and float32 (weights,): what a search ranked its weights by."""
    network = work.fine_tuned(source.finetune)
    if source.method.criterion is None:
        return network, magnitudes(network)
    return network, masks.weight_scores(masks.from_table(work.mask(source)))
