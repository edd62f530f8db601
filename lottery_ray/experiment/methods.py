"""How a search goes: over heads and MLPs, or over single weights."""

from dataclasses import dataclass
from typing import Literal

from lottery_ray.identity import before

Components = Literal["both", "heads", "mlps"]


@dataclass(frozen=True)
class Structured:
    """Iterative pruning of heads and MLPs by gradient importance (section 3.2 of the paper).

    step: share of all heads that the first phase removes at a time, beside one MLP; the second phase
    removes half as many heads alone, the third one MLP alone.
    components: both, in these three phases; or heads alone, or MLPs alone, in one phase.
    importance: exact and per example, or, as released, cumulative: the magnitude of the gradient summed
    over all batches so far, summed over batches (protocol 2.1, 6.5).
    layer_norm: what the heads of a layer are normalised over: all of them, as published, or survivors.
    later_phases: what phases 2 and 3 start from: the accepted mask's scores; or, as released, those of
    the last candidate, usually rejected. In the released loop the first phase also ends where MLPs run
    out, and where heads do, MLPs fall back to those of the step before (protocol 2.2).
    last_head: whether a layer's last head may go. The released masks of heads alone keep it (2.3).
    criterion, criterion_sha256: of a user's own, in place of gradient importance and its normalisation: its
    name, and the sha256 of its source.
    """

    step: float = 0.1
    components: Components = before("both")
    importance: Literal["per_example", "cumulative"] = before("per_example")
    layer_norm: Literal["all", "survivors"] = before("all")
    later_phases: Literal["accepted", "released"] = before("accepted")
    last_head: Literal["prunable", "kept"] = before("prunable")
    criterion: str | None = before(None)
    criterion_sha256: str | None = before(None)

    @property
    def name(self) -> str:
        """structured, heads or mlps."""
        return next(name for name, components in COMPONENTS.items() if components == self.components)

    @property
    def chosen(self) -> str:
        """As --methods takes it: METHOD, or METHOD:CRITERION."""
        return _with_criterion(self.name, self.criterion)


@dataclass(frozen=True)
class Magnitude:
    """Iterative pruning of the smallest weights of the encoder, over all layers (section 3.1).

    step: share of the remaining weights that a step removes: 10% as written, 5% as run (protocol 6.3).
    max_steps: None for no limit. As released, the last of them is looked at and never kept.
    criterion, criterion_sha256: of a user's own, in place of a weight's magnitude.
    """

    step: float = 0.1
    max_steps: int | None = before(None)
    criterion: str | None = before(None)
    criterion_sha256: str | None = before(None)

    @property
    def name(self) -> str:
        return "magnitude"

    @property
    def chosen(self) -> str:
        """As --methods takes it: METHOD, or METHOD:CRITERION."""
        return _with_criterion(self.name, self.criterion)


COMPONENTS: dict[str, Components] = {"structured": "both", "heads": "heads", "mlps": "mlps"}
METHODS = (*COMPONENTS, "magnitude")


def _with_criterion(name: str, criterion: str | None) -> str:
    return f"{name}:{criterion}" if criterion else name
