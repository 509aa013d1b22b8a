"""Volumes through a runner: all of them are measured first, then computed, beside a bar of parts and one of chunks."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from tqdm import tqdm

from model.predict.jobs import Job, Outcome, Runner
from model.predict.progress_bar import Summary
from model.predict.volumes.volume_jobs import MeasureJob
from model.predict.volumes.volume_run import VolumeRun


def run_volumes(runner: Runner, volume_runs: Mapping[VolumeRun, str], summary: Summary) -> None:
    """Makes the results of volumes, or resumes them. `volume_runs` maps each to the name for reporting a failure."""
    failed: dict[VolumeRun, str] = {}
    _measure(runner, list(volume_runs), VolumeRun.measuring_ranges, "range of values", failed)
    measured = [volume for volume in volume_runs if volume not in failed]
    if not summary.stopped_by:
        _measure(runner, measured, VolumeRun.measuring_moments, "mean and deviation", failed)
    if not summary.stopped_by:
        for volume in measured:
            for notice in volume.notices():
                summary.notices.setdefault(notice, []).append(volume_runs[volume])
        left = _segment(runner, [volume for volume in measured if volume not in failed], failed)
        for volume in volume_runs:
            if volume not in failed and not left[volume]:
                with _noting(volume, failed):
                    volume.finish()
                    summary.done += 1
    summary.failed |= {name: failed[volume] for volume, name in volume_runs.items() if volume in failed}


def _measure(
    runner: Runner,
    volume_runs: Sequence[VolumeRun],
    measuring: Callable[[VolumeRun], Sequence[MeasureJob]],
    name: str,
    failed: dict[VolumeRun, str],
) -> None:
    """Runs the jobs that `measuring` returns beside a bar with this name."""
    jobs: dict[Job, VolumeRun] = {job: volume for volume in volume_runs for job in measuring(volume)}
    if not jobs:
        return

    def take(job: Job, outcome: Outcome) -> None:
        if isinstance(job, MeasureJob):
            with _noting(jobs[job], failed):
                jobs[job].measured(job, outcome.value)

    with tqdm(total=len(jobs), unit="part", desc=name, disable=None) as bar:
        runner.run(list(jobs), _noting_seen(jobs, failed, bar.update, take))
    for volume in volume_runs:
        with _noting(volume, failed):
            volume.save()


def _segment(runner: Runner, volume_runs: Sequence[VolumeRun], failed: dict[VolumeRun, str]) -> Counter[VolumeRun]:
    """Returns how many jobs of each are left."""
    jobs = {job: volume for volume in volume_runs for job in volume.segmenting()}
    left, total = Counter(jobs.values()), sum(volume.chunks for volume in volume_runs)

    def take(job: Job, _outcome: Outcome) -> None:
        left[jobs[job]] -= 1

    begun = total - sum(job.steps for job in jobs)
    with tqdm(total=total, initial=begun, unit="chunk", disable=None) as bar:
        runner.run(list(jobs), _noting_seen(jobs, failed, bar.update, take))
    return left


def _noting_seen(
    jobs: Mapping[Job, VolumeRun],
    failed: dict[VolumeRun, str],
    advance: Callable[[int], object],
    take: Callable[[Job, Outcome], None],
) -> Callable[[Job, Outcome], None]:
    """A `OnOutcome` that hands on what succeeded, and notes the first thing that failed of each volume."""

    def on_outcome(job: Job, outcome: Outcome) -> None:
        advance(job.steps)
        if outcome.problem is None:
            take(job, outcome)
        else:
            failed.setdefault(jobs[job], outcome.problem)

    return on_outcome


@contextmanager
def _noting(volume: VolumeRun, failed: dict[VolumeRun, str]) -> Iterator[None]:
    """Records an OSError as the failure of the volume."""
    try:
        yield
    except OSError as error:
        failed.setdefault(volume, error.strerror or str(error))
