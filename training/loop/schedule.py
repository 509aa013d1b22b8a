"""Schedules: the position of a training, by its steps or by the clock.

A position runs from 0 to the number of planned steps. Learning rate, averaged weights, checks and the end depend on the
position only. Under a time budget the position follows the clock: on a machine that becomes half as fast each step
advances twice as far, so the schedule still ends with the time. Everything that the clock decided is in the checkpoint.
"""

from dataclasses import dataclass

from training.loop.progress import Progress

# A plan of fewer steps would end before the learning rate has fallen.
FEWEST_STEPS = 10
# Checks of a training with a time budget, at most, and the share of the time that all of them may take.
MOST_CHECKS = 12
CHECKING = 0.05
# Seconds of the report beyond scoring the held-out images: importing what draws it, charts and pictures.
REPORT = 4.0


@dataclass(frozen=True)
class StepSchedule:
    """A training of a given number of steps, with a check every `check_every` steps."""

    steps: int
    check_every: int

    def advanced(self, progress: Progress, spent: float) -> float:  # noqa: ARG002 - the clock's schedule uses it
        """Returns the position after a step."""
        return progress.position + 1

    def next_check(self, progress: Progress) -> float:
        """Returns the position of the first check after the present position."""
        return (progress.position // self.check_every + 1) * self.check_every

    def seconds_left(self, progress: Progress) -> float:
        """Returns the seconds to the end at the pace so far."""
        return progress.seconds * (self.steps / max(progress.position, 1) - 1)


@dataclass(frozen=True)
class TimeSchedule:
    """A training that ends, with its weights and report written, when the time is up.

    Attributes:
        steps: The planned number of steps; a position counts these, whatever number of steps is made.
        seconds: The budget, counted from the start of the command.
    """

    steps: int
    seconds: float

    def advanced(self, progress: Progress, spent: float) -> float:
        """Returns the position after a step that took `spent` seconds and ended at `progress.seconds`.

        The step takes its share of the rest of the plan. It is the last one if no further step would fit.
        """
        left = self.seconds_left(progress)
        if left < spent or left <= 0:
            return self.steps
        return progress.position + (self.steps - progress.position) * spent / (left + spent)

    def next_check(self, progress: Progress) -> float:
        """Returns the position of the next check: soon for the first one, then in equal distances, and at the end."""
        spacing = self._spacing(progress)
        following = progress.position + (spacing if progress.checked else spacing / 2)
        return following if following < self.steps - spacing / 4 else self.steps

    def seconds_left(self, progress: Progress) -> float:
        """Returns the seconds left for steps, without those for the checks to come and the report."""
        spacing = self._spacing(progress)
        between = max(0.0, self.steps - spacing / 4 - progress.next_check) // spacing + 1
        checks = between * (progress.next_check < self.steps) + 1
        # the report predicts again; both it and the last check compute slower scores
        closing = progress.check_seconds + 2 * progress.final_seconds + REPORT
        return self.seconds - progress.seconds - checks * progress.check_seconds - closing

    def _spacing(self, progress: Progress) -> float:
        """Returns the distance of two checks; more than the whole plan if only the last one fits."""
        fitting = MOST_CHECKS
        if progress.check_seconds:
            fitting = min(MOST_CHECKS, int(CHECKING * self.seconds / progress.check_seconds))
        return self.steps / (fitting - 1) if fitting > 1 else 4 * self.steps


Schedule = StepSchedule | TimeSchedule
