"""A training's progress for people: a bar on a terminal, a line now and then in a log."""

from types import TracebackType
from typing import NoReturn

from tqdm import tqdm

from training.loop.progress import Progress
from training.loop.schedule import Schedule, TimeSchedule

# In a log the next line comes after this many seconds, and after this share of the training.
SECONDS, SHARE = 30.0, 0.01


class Display:
    """Shows each step as its schedule and the terminal allow; `shown` is False for all but the main process."""

    def __init__(self, schedule: Schedule, progress: Progress, *, shown: bool) -> None:
        self._schedule, self._shown = schedule, shown
        hidden = None if shown else True  # None: hidden unless there is a terminal
        begun = int(progress.position)
        self._bar: tqdm[NoReturn] = tqdm(total=schedule.steps, initial=begun, unit="step", disable=hidden)
        self._done, self._said_at, self._said_position = begun, progress.seconds, progress.position

    def __enter__(self) -> "Display":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def say(self, line: str, progress: Progress) -> None:
        """Prints a line, above the bar if there is one."""
        self._said_at, self._said_position = progress.seconds, progress.position
        if not self._shown:
            return
        if self._bar.disable:
            print(line, flush=True)
        else:
            self._bar.write(line)

    def step(self, progress: Progress, rate: float) -> None:
        """Shows the progress after a step; `rate` is the learning rate of the next one."""
        loss = progress.losses[-1]
        position = int(progress.position)
        self._bar.update(position - self._done)
        self._done = position
        self._bar.set_postfix(loss=f"{loss:.4f}", best=f"{progress.best.score:.4f}", refresh=False)
        waited = progress.seconds - self._said_at >= SECONDS
        advanced = progress.position - self._said_position >= SHARE * self._schedule.steps
        if self._bar.disable and waited and advanced:
            left = _duration(self._schedule.seconds_left(progress))
            self.say(f"{where(self._schedule, progress)}  loss {loss:.4f}  rate {rate:.2g}  {left} left", progress)


def where(schedule: Schedule, progress: Progress) -> str:
    """Returns the step and the share of the training that is done."""
    steps = f"{progress.step}" if isinstance(schedule, TimeSchedule) else f"{progress.step}/{schedule.steps}"
    return f"step {steps} ({progress.position / schedule.steps:.0%})"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
