"""The claims of the paper's abstract (Prasanna, Rogers and Rumshisky 2020), each with a rule that judges it.

Every rule holds an interval against a line: all of it on one side supports, all of it on the other side
contradicts, and anything else is not enough data.
"""

from dataclasses import dataclass

import numpy as np

SUPPORTED, CONTRADICTED, OPEN = "supported", "contradicted", "not enough data"
PARTS = {"heads": "heads", "mlp": "MLPs", "weight": "weights"}
THESE = "mean over these tasks, each with its own variance over seeds"


@dataclass(frozen=True)
class Claim:
    """claim: in short, unique. about: what is measured, and unit: what follows its numbers. line: what its
    interval is held against, and above: whether that side supports. rule: in sentences. wide: the interval is
    over tasks, as a kappa has no spread over seeds."""

    claim: str
    quote: str
    about: str
    unit: str
    line: float
    above: bool
    rule: str
    wide: bool = False

    def verdict(self, low: float, high: float) -> str:
        """Of an interval; NaN where there is none."""
        if low > self.line or high < self.line:
            return SUPPORTED if (low > self.line) == self.above else CONTRADICTED
        return OPEN


def comparable(measure: str) -> Claim:
    rule = (
        "Comparable means within 10% of the full model's score, the floor of the paper's search. Supported"
        f" if the interval of the loss, as a share of the full model's mean score ({THESE}), lies below 10%,"
        " contradicted if above."
    )
    if measure == "pruned":
        rule += " A search scored on dev stops there by construction: only one on other rows tests this."
    return Claim(
        claim=f"(a) good comes close to full, {measure}",
        quote="it is possible to find subnetworks achieving performance that is comparable with that of the"
        " full model",
        about=f"Full minus good, {measure}",
        unit="of full's score",
        line=0.1,
        above=False,
        rule=rule,
    )


def worse(network: str, measure: str) -> Claim:
    rule = f"Supported if the interval of good minus {network} ({THESE}) lies above 0, contradicted if below."
    if network == "random":
        rule += (
            " The abstract speaks of the rest of the model, which is bad; the paper's text has random,"
            " retrained, “mostly on par with good”, from a figure that shows good's scores in its place."
        )
    return Claim(
        claim=f"(b) {network} is worse than good, {measure}",
        quote="similarly-sized subnetworks sampled from the rest of the model perform worse",
        about=f"Good minus {network}, {measure}",
        unit="in score",
        line=0.0,
        above=True,
        rule=rule,
    )


TRAINABLE = Claim(
    claim="(c) bad, retrained, comes closer to full than to majority",
    quote="with structured pruning even the worst possible subnetworks remain highly trainable",
    about="Bad, retrained, goes",
    unit="of the way from the majority baseline to the full model",
    line=0.5,
    above=True,
    rule="Highly trainable means past half of the way from always predicting the most frequent label to the"
    f" full model. Supported if the interval of that share ({THESE}) lies above one half, contradicted if"
    " below. The spreads of bad and full are added, which holds however their seeds pair.",
)
USEFUL = Claim(
    claim="(c) pre-trained weights help random, retrained",
    quote="indicating that most pre-trained BERT weights are potentially useful",
    about="Random subnetworks retrained from pre-trained weights minus from random ones",
    unit="in score",
    line=0.0,
    above=True,
    rule=f"Supported if the interval of the difference ({THESE}) lies above 0, contradicted if below. The"
    " spreads of both are added, which holds however their seeds pair.",
)
MODERATE = 0.41


def unstable(component: str) -> Claim:
    return Claim(
        claim=f"(d) good differs from seed to seed: {PARTS[component]}",
        quote='We also study the "good" subnetworks [...], but find them unstable',
        about=f"Agreement of seeds on {PARTS[component]}",
        unit="Fleiss' kappa",
        line=MODERATE,
        above=False,
        rule=f"Unstable means that seeds agree less than moderately, by a kappa below {MODERATE} (Landis and"
        " Koch 1977; the paper calls .15 to .32 unstable). Supported if the t interval of kappa over tasks"
        " lies below it, contradicted if above. The paper measured this on heads of structured pruning.",
        wide=True,
    )


EXPLAINED = Claim(
    claim="(e) attention patterns do not explain good",
    quote="not explained by meaningful self-attention patterns",
    about="",
    unit="",
    line=np.nan,
    above=False,
    rule="Not judged: this study neither classifies attention maps nor probes for linguistic knowledge.",
)
