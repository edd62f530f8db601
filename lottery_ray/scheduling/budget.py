"""The hours of GPUs, or of CPUs where trials have no GPU, that one command may use."""

import time
from dataclasses import dataclass, field


@dataclass
class Budget:
    """What trials have used, failed ones and those whose process died included, and what they may.

    hours: None for any number. unit: "GPU" or "CPU". used_seconds: of one unit, by trials that have ended.
    expected: {trial: (seconds it should take, units it has)} of those that are out. running: {trial: since
    when}.
    """

    hours: float | None
    unit: str
    used_seconds: float = 0.0
    expected: dict[str, tuple[float, float]] = field(default_factory=dict)
    running: dict[str, float] = field(default_factory=dict)

    def fits(self, seconds: float, units: float) -> bool:
        """Whether another trial may be handed out."""
        out = sum(max(expected, self._ran(trial)) * of for trial, (expected, of) in self.expected.items())
        return self.hours is None or self.used_seconds + out + seconds * units <= 3600 * self.hours

    def handed_out(self, trial: str, seconds: float, units: float) -> None:
        """seconds: that it is expected to take; 0 where nothing is known."""
        self.expected[trial] = seconds, units

    def started(self, trial: str) -> None:
        self.running[trial] = time.monotonic()

    def stopped(self, trial: str) -> None:
        """It will be started again."""
        self.used_seconds += self._ran(trial) * self.expected[trial][1]
        self.running.pop(trial, None)

    def ended(self, trial: str) -> None:
        """Whichever way."""
        self.stopped(trial)
        self.expected.pop(trial)

    def _ran(self, trial: str) -> float:
        now = time.monotonic()
        return now - self.running.get(trial, now)

    @property
    def used(self) -> float:
        """Hours so far."""
        return (
            self.used_seconds + sum(self._ran(trial) * self.expected[trial][1] for trial in self.running)
        ) / 3600

    @property
    def used_up(self) -> bool:
        return self.hours is not None and self.used >= self.hours

    def too_little_for(self, seconds: float, units: float) -> str:
        """Why a sweep ends though hours are left."""
        return f"{self}, and the next node takes about {seconds * units / 3600:.2g}"

    def __str__(self) -> str:
        return f"{self.used:.3g} of {self.hours:g} {self.unit}-hours are used"
