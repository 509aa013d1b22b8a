"""Runs jobs beside progress bars (if stderr is a terminal), stopped by signals, and sums up what became of them."""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from tqdm import tqdm

from model.predict.jobs import ImageJob, Job, Outcome, Runner

FAILED = 1
NOT_DONE = Outcome()
STOPPED = 128  # and the signal's number: 130 after Ctrl-C


@dataclass
class Summary:
    """The outcome of a command.

    Attributes:
        failed: Images, or inputs without images, with the reasons.
        notices: How images were read, if something was chosen or changed, with the images.
        kept: Number of results from before.
        done: Number of images that succeeded.
        stopped_by: Number of the signal that stopped the command; 0 if none did.
    """

    failed: dict[str, str] = field(default_factory=dict)
    notices: dict[str, list[str]] = field(default_factory=dict)
    kept: int = 0
    done: int = 0
    stopped_by: int = 0

    @property
    def exit_code(self) -> int:
        if self.stopped_by:
            return STOPPED + self.stopped_by
        return FAILED if self.failed else 0

    def __str__(self) -> str:
        kept = f"{self.kept} kept from before (--overwrite makes them again)" if self.kept else "0 kept from before"
        text = f"{self.done} done, {kept}, {len(self.failed)} failed"
        return f"{text}; stopped, the same command resumes here" if self.stopped_by else text


def run_images(runner: Runner, jobs: Mapping[ImageJob, str], summary: Summary) -> None:
    """Makes the results of images. `jobs` maps each job to the name under which a failure is reported."""
    outcomes: dict[Job, Outcome] = {}
    with tqdm(total=len(jobs), unit="image", disable=None) as bar:

        def on_outcome(job: Job, outcome: Outcome) -> None:
            bar.update(job.steps)
            outcomes[job] = outcome

        runner.run(list(jobs), on_outcome)
    # in the order of the images, not in that in which they were done
    for job, name in jobs.items():
        outcome = outcomes.get(job, NOT_DONE)
        if outcome.problem is not None:
            summary.failed[name] = outcome.problem
            continue
        summary.done += job in outcomes
        for notice in outcome.value or ():
            summary.notices.setdefault(notice, []).append(name)


@contextmanager
def stopping(runner: Runner, summary: Summary) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop the runner between two tiles, so that what is finished can be told."""

    def stop(number: int, _frame: object) -> None:
        summary.stopped_by = number
        runner.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
