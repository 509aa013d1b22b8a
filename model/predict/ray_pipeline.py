"""Jobs done on a Ray cluster, by Ray Data: rows of jobs in, rows of outcomes out, and actors in between.

Actors read and write the files themselves, so all machines have to see them under the same paths. An actor that dies
is started again, and what it had begun is done again; what a job leaves is whole or not there, so nothing is lost.
"""

import logging
import pickle
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import ray
import ray.data
import torch
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from model.errors import UserError
from model.outputs.output import OutputSpec
from model.predict.cluster import ClusterError, Workers
from model.predict.jobs import Job, OnOutcome, Outcome, Room, Stopped
from model.predict.journal import Journal
from model.predict.local_pipeline import Pipeline
from model.segmenter import Segmenter
from model.weights_file import Description

How: TypeAlias = Mapping[str, Any]
"""The arguments of `Segmenter.load`."""

# A job is not attempted again if its worker's process has died this many times; the last attempts run alone.
MOST_DEATHS = 3

# Ray Data takes a millisecond or two for each block of rows. With this many, progress is still smooth.
MOST_BLOCKS = 4096

# Rows that are in memory at once, a kilobyte each.
MOST_ROWS = 100_000

# So often it is looked whether to stop.
INTERVAL_S = 0.1


class RayPipeline:
    """A `Runner`. A second `stop` does not wait for the workers: it raises KeyboardInterrupt."""

    def __init__(self, workers: Workers, how: How) -> None:
        """Waits for a worker to be free, which loads the weights as all others will.

        Raises ClusterError with the reason why they cannot be loaded.
        """
        self._workers, self._how = workers, how
        look = ray.remote(_look).options(num_cpus=workers.cpus, num_gpus=workers.gpus)
        found = ray.get(look.remote(how, workers.cpus))
        if isinstance(found, str):
            raise ClusterError(found)
        self.description, self.label, self._threads = found
        self._output_spec = OutputSpec()
        self._stopping = threading.Event()

    def with_output(self, output_spec: OutputSpec) -> "RayPipeline":
        """Returns this pipeline, set to make `output_spec` of each image."""
        self._output_spec = output_spec
        return self

    def run(self, jobs: Sequence[Job], on_outcome: OnOutcome) -> None:
        for first in range(0, len(jobs), MOST_ROWS):
            self._run(jobs[first : first + MOST_ROWS], on_outcome)

    def _run(self, jobs: Sequence[Job], on_outcome: OnOutcome) -> None:
        left = dict(enumerate(jobs))
        problem = "its worker ended without a word"
        with self._journal() as journal:
            try:
                for row in self._dataset(jobs, journal).iter_rows() if not self._stopping.is_set() else ():
                    if row["number"] in left:  # whatever is done twice is seen once
                        on_outcome(left.pop(row["number"]), pickle.loads(row["outcome"]))  # noqa: S301  # our workers' bytes
            except ray.exceptions.RayError as error:
                problem = f"the cluster failed: {str(error).strip().rpartition(chr(10))[2]}"
        for job in left.values() if not self._stopping.is_set() else ():
            on_outcome(job, Outcome(problem=problem))

    @contextmanager
    def _journal(self) -> Iterator[Any]:
        """For the workers of a run, which are told by it to stop."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(Journal).options(num_cpus=0, max_concurrency=10_000, scheduling_strategy=here)
        journal: Any = actor.remote()
        done = threading.Event()
        threading.Thread(target=self._forward_stop, args=(journal, done), daemon=True).start()
        try:
            yield journal
        finally:
            done.set()
            ray.kill(journal)

    def stop(self) -> None:
        if self._stopping.is_set():
            raise KeyboardInterrupt
        self._stopping.set()

    def _forward_stop(self, journal: Any, done: threading.Event) -> None:
        """To the workers. Not by the signal handler itself, which may have interrupted Ray anywhere."""
        while not done.wait(INTERVAL_S):
            if self._stopping.is_set():
                ray.get(journal.stop.remote())
                return

    def _dataset(self, jobs: Sequence[Job], journal: Any) -> Dataset:
        """Rows of number and outcome (pickled), of all jobs that were not given up."""
        _configure()
        rows = [{"number": number, "job": pickle.dumps(job)} for number, job in enumerate(jobs)]
        pool = ActorPoolStrategy(
            size=min(self._workers.count, len(jobs)),
            max_concurrent_calls_per_actor=self._threads,
            enable_true_multi_threading=True,
            max_tasks_in_flight_per_actor=self._threads + 1,  # few wait at one worker while others idle
        )
        return ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS)).flat_map(
            _Worker,
            fn_constructor_args=(self._how, self._output_spec, self._workers.cpus, journal),
            compute=pool,
            num_cpus=self._workers.cpus,
            num_gpus=self._workers.gpus or None,
        )


def _configure() -> None:
    """Ray Data has bars and messages of its own, and gives up at the first row that fails."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1
    logger = logging.getLogger("ray.data")
    for handler in list(logger.handlers):
        if isinstance(handler, logging.StreamHandler):  # what goes to the session's files stays
            logger.removeHandler(handler)
    logger.propagate = False


def _load(how: How, threads: int) -> Segmenter:
    """Raises WeightsError, EngineError, ValueError."""
    torch.set_num_threads(threads)
    return Segmenter.load(**how, threads=threads)


def _look(how: How, threads: int) -> tuple[Description, str, int] | str:
    """Returns the weights' description and label, and a worker's number of parallel jobs; or an error message."""
    try:
        pipeline = Pipeline(_load(how, threads), OutputSpec())
    except (UserError, OSError) as error:
        return str(error)
    return pipeline.segmenter.description, pipeline.segmenter.weights.label, pipeline.threads


class _Worker:
    """An actor: the weights, loaded once, and as many jobs at once as a local `Pipeline` does."""

    def __init__(self, how: How, output_spec: OutputSpec, threads: int, journal: Any) -> None:
        self._pipeline = Pipeline(_load(how, threads), output_spec)
        self._journal = journal
        self._company = Room(self._pipeline.threads)
        threading.Thread(target=self._wait_for_stop, daemon=True).start()

    def __call__(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        """No rows if it was given up."""
        number, job = row["number"], pickle.loads(row["job"])  # noqa: S301  # the driver's bytes
        begun, outcome = ray.get(self._journal.history.remote(number))
        if outcome is None:
            try:
                outcome = pickle.dumps(self._do(number, job, begun))
            except Stopped:
                return []
            ray.get(self._journal.end.remote(number, outcome))
        return [{"number": number, "outcome": outcome}]

    def _do(self, number: int, job: Job, deaths: int) -> Outcome:
        """Runs jobs that were in flight when a worker died one by one, so that the next death shows the cause."""
        if deaths >= MOST_DEATHS:
            return Outcome(problem=f"its worker died {deaths} times, perhaps for want of memory")
        with self._company.taken(self._pipeline.threads if deaths else 1):
            ray.get(self._journal.begin.remote(number))
            return self._pipeline.make(job)

    def _wait_for_stop(self) -> None:
        ray.get(self._journal.stopped.remote())
        self._pipeline.stop()
