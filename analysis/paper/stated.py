"""The claims of the paper's abstract (Prasanna, Rogers and Rumshisky 2020), each with a rule that judges it.

Every rule holds an interval against a line: all of it on one side supports, all of it on the other side
contradicts, and anything else is not enough data. Where the line is no difference at all, no interval but of
the opposite lies wholly beyond it, so a margin says what difference would be too small to matter.
"""

from dataclasses import dataclass

import numpy as np

from analysis.formats import COMPONENT_NAMES
from analysis.records.network_names import RANDOM, NetworkName

SUPPORTED, CONTRADICTED, OPEN = "supported", "contradicted", "not enough data"
POINT = 0.01
CONTRADICTS = f"contradicted if it does not and lies below {POINT}, so that any gain is less than a point"
THESE = "mean over these tasks, each with its own variance over seeds"


@dataclass(frozen=True)
class Claim:
    """claim: in short, unique. about: what is measured, with {name} for the network as it is drawn, and unit:
    what follows its numbers. line: what its interval is held against, and above: whether that side supports.
    rule: in sentences. margin: how far beyond the line an interval that does not support may reach and still
    contradict. wide: the interval is over tasks drawn at random, and needs three. by_search: a search that
    was scored on dev makes it hold, which then supports nothing."""

    claim: str
    quote: str
    about: str
    unit: str
    line: float
    above: bool
    rule: str
    margin: float = 0.0
    wide: bool = False
    by_search: bool = False

    def verdict(self, low: float, high: float) -> str:
        """Of an interval; NaN where there is none."""
        if low > self.line if self.above else high < self.line:
            return SUPPORTED
        contradicts = high < self.line + self.margin if self.above else low > self.line - self.margin
        return CONTRADICTED if contradicts else OPEN


def comparable(measure: str) -> Claim:
    rule = (
        "Comparable means within 10% of the full model's score, the floor of the paper's search. Supported"
        f" if the interval of the loss, as a share of the full model's mean score ({THESE}), lies below 10%,"
        " contradicted if above."
    )
    if measure == "pruned":
        rule += (
            " A search scored on dev stops there by construction, which supports nothing: only one on other"
            " rows tests this."
        )
    return Claim(
        claim=f"(a) good comes close to full, {measure}",
        quote="it is possible to find subnetworks achieving performance that is comparable with that of the"
        " full model",
        about=f"Full minus good, {measure}",
        unit="of full's score",
        line=0.1,
        above=False,
        rule=rule,
        by_search=measure == "pruned",
    )


def worse(network: NetworkName, measure: str) -> Claim:
    rule = f"Supported if the interval of good minus {network} ({THESE}) lies above 0; {CONTRADICTS}."
    if network == RANDOM:
        rule += (
            " The abstract speaks of the rest of the model, which is bad; the paper's text has random,"
            " retrained, “mostly on par with good”, from a figure that shows good's scores in its place."
        )
    return Claim(
        claim=f"(b) {network} is worse than good, {measure}",
        quote="similarly-sized subnetworks sampled from the rest of the model perform worse",
        about=f"Good minus {{name}}, {measure}",
        unit="in score",
        line=0.0,
        above=True,
        rule=rule,
        margin=POINT,
    )


PAIRING = "Where it is unknown how seeds pair, the spreads of both are added, which holds however they do."
TRAINABLE = Claim(
    claim="(c) bad, retrained, comes closer to full than to majority",
    quote="with structured pruning even the worst possible subnetworks remain highly trainable",
    about="Retrained, {name} goes",
    unit="of the way from the majority baseline to the full model",
    line=0.5,
    above=True,
    rule="Highly trainable means past half of the way from always predicting the most frequent label to the"
    f" full model. Supported if the interval of that share ({THESE}) lies above one half, contradicted if"
    f" below. {PAIRING}",
)
USEFUL = Claim(
    claim="(c) pre-trained weights help random, retrained",
    quote="indicating that most pre-trained BERT weights are potentially useful",
    about="Retraining {name} subnetworks from pre-trained weights minus from random ones",
    unit="in score",
    line=0.0,
    above=True,
    rule=f"Supported if the interval of the difference ({THESE}) lies above 0; {CONTRADICTS}. {PAIRING}",
    margin=POINT,
)
MODERATE = 0.41


def unstable(component: str) -> Claim:
    return Claim(
        claim=f"(d) good differs from seed to seed: {COMPONENT_NAMES[component]}",
        quote='We also study the "good" subnetworks [...], but find them unstable',
        about=f"Agreement of seeds on {COMPONENT_NAMES[component]}",
        unit="Fleiss' kappa",
        line=MODERATE,
        above=False,
        rule=f"Unstable means that seeds agree less than moderately, by a kappa below {MODERATE} (Landis and"
        " Koch 1977; the paper calls .15 to .32 unstable). Supported if the t interval of kappa over tasks,"
        " at least three, lies below it, contradicted if above. Tasks by themselves: the interval of"
        " each kappa over seeds. The paper measured this on heads of structured pruning.",
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
