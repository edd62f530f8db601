"""What every trial of a sweep is told, as one value. It needs no torch: a driver makes it."""

from dataclasses import dataclass

from lottery_ray.experiment.extensions import Extension
from lottery_ray.experiment.plan import Plan
from lottery_ray.experiment.study import Site
from lottery_ray.tracking.settings import UNTRACKED, Tracking


@dataclass(frozen=True)
class TrialSettings:
    """Nothing here changes a result.

    root: where results go, in words that mean the same in any folder. folders: {identity: path} of the plan's
    model and data. extensions: of the plan. cpu: leave a GPU alone. keep_retrained: whether a ticket leaves
    its retrained weights, too. checkpoint_minutes: how old a checkpoint within a training may get. tracking:
    who is told. spread: seconds over which the first tracked runs of many processes begin.
    """

    root: str
    folders: dict[str, str]
    extensions: tuple[Extension, ...] = ()
    cpu: bool = False
    keep_retrained: bool = False
    checkpoint_minutes: float = Site.checkpoint_minutes
    tracking: Tracking = UNTRACKED
    spread: float = 0.0


def trial_settings(
    plan: Plan, site: Site, tracking: Tracking, *, cpu: bool, spread: float = 0.0
) -> TrialSettings:
    """Those of a plan's trials."""
    return TrialSettings(
        site.root,
        plan.folders,
        plan.extensions,
        cpu,
        site.keep_retrained,
        site.checkpoint_minutes,
        tracking,
        spread,
    )
