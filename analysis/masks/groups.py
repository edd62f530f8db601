"""Masks that belong together, counted once for all tables about them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.masks import bits
from analysis.masks.bits import Counts
from analysis.records.method_names import MethodName
from analysis.records.network_names import NetworkName, TicketSize
from analysis.records.root import MaskFile

Place = tuple[str, MethodName, TicketSize, NetworkName]
PLACE = ["task", "method", "size", "network"]


@dataclass(frozen=True)
class Group:
    """The masks of all seeds of one task, method, size and network (`place`), and what they share."""

    place: Place
    seeds: tuple[int, ...]
    paths: tuple[Path, ...]
    counts: Counts

    @property
    def components(self) -> list[str]:
        """Those that the method prunes and the masks have."""
        return pruned(self.place[1], self.counts)


def pruned(method: MethodName, counts: Counts) -> list[str]:
    """The components that a method prunes and masks have."""
    return [name for name in method.components if name in counts.component]


def by_place(files: Sequence[MaskFile]) -> dict[Place, dict[int, MaskFile]]:
    """{(task, method, size, network): {seed: file}}. Of networks that are drawn several times for a seed,
    the first draw stands for all."""
    found: dict[Place, dict[int, MaskFile]] = defaultdict(dict)
    for file in files:
        if not file.draw:
            found[file.task, file.method, file.size, file.network][file.seed] = file
    return found


def groups_of_seeds(files: Sequence[MaskFile]) -> list[Group]:
    """The groups of a root's masks, with all pairs of seeds counted. files: see `Root.masks`.

    Raises InputError if masks of one group have different shapes.
    """
    groups = []
    for place, by_seed in by_place(files).items():
        paths = tuple(file.path for file in by_seed.values())
        groups.append(Group(place, tuple(by_seed), paths, bits.count(paths)))
    return groups
