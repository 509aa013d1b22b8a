"""The training job: builds a trainer from the options, and reports its result."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from model.engines.engine import EngineError
from model.segmenter import Segmenter
from model.weights_file import WeightsError
from training.data.folder import Sample
from training.data.holdout import out_of_fold
from training.data_error import DataError
from training.distributed.processes import Processes
from training.loop import memory
from training.loop.clock import Clock
from training.loop.memory import TooLittleMemory
from training.loop.trainer import Trainer, TrainingError
from training.run.preparation import prepare
from training.run.training_options import TrainingOptions
from training.scoring.objective import OBJECTIVE_NAMES

Train = Callable[[TrainingOptions, list[Sample], Processes, Clock], int]


def run(options: TrainingOptions, samples: list[Sample], processes: Processes, clock: Clock, train: Train) -> int:
    """Runs one training or several, as `train` does; returns the exit code, the same in all processes.

    `clock`: started with the command. Raises DataError, KeyboardInterrupt before the first step.
    """
    memory.keep_freed()
    try:
        return train(options, samples, processes, clock)
    except (EngineError, WeightsError, TooLittleMemory) as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(_cannot_write(options.out, error)) from error


def train(options: TrainingOptions, samples: list[Sample], processes: Processes, clock: Clock) -> int:
    """Trains once; returns the exit code."""
    return complete(prepare(options, samples, processes, clock), options.out)


def complete(trainer: Trainer, out: Path) -> int:
    """Does everything after the first checkpoint; returns the exit code.

    Whatever happens here, `--resume` with the folder `out` continues from the last checkpoint.
    """
    processes = trainer.machine.processes
    try:
        trainer.run()
        processes.say(*processes.on_main(lambda: [finish(trainer), f"report: {report(trainer)}"]))
        _warn(trainer)
    except TrainingError as error:
        processes.say(f"training: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        kept = f"all up to step {trainer.saved_step} is kept, and --resume continues from there"
        processes.say(f"training: {_cannot_write(trainer.folder.path, error)}; {kept}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        processes.say(f"training: stopped; --resume continues from {out}", file=sys.stderr)
        return 130
    return 0


def _warn(trainer: Trainer) -> None:
    """Prints what is wrong with the weights on stderr, last, so that it is read."""
    for line in trainer.machine.processes.on_main(lambda: [*trainer.best.failures, *trainer.best.warnings]):
        trainer.machine.processes.say(f"training: warning: {line}", file=sys.stderr)


def _cannot_write(folder: Path, error: OSError) -> str:
    return f"{folder}: cannot be written to ({error.strerror or error})"


def finish(trainer: Trainer) -> str:
    """Returns what to print at the end, and notes it in the folder."""
    best, lines = trainer.best, []
    if trainer.ended != "finished":
        lines.append(f"stopped at step {trainer.step} of {trainer.steps}: {trainer.ended}")
    threshold = "" if trainer.recipe.net.classes > 1 else f"; threshold {best.threshold:.3g}"
    lines.append(f"kept: the weights of step {best.step}, {_reached(trainer)}{threshold}")
    weights = trainer.folder.weights
    trainer.folder.write_config(trainer.folder.read_config() | {"steps": trainer.steps, "ended": trainer.ended})
    serve = f"serve them: SEGMENT_WEIGHTS={shlex.quote(str(weights))} python -m app"
    return "\n".join([*lines, f"weights: {weights}", serve])


def _reached(trainer: Trainer) -> str:
    """Returns what is known of the kept weights, as a phrase."""
    best, select = trainer.best, trainer.recipe.select
    if select == "training_loss":
        return f"loss {-best.score:.4f}"
    if not best.scores:
        folds = out_of_fold(trainer.description.provenance)
        return folds or "no images held out, so nothing is known of how good they are"
    return f"{OBJECTIVE_NAMES[select]} {best.score:.4f} on the held-out images"


def report(trainer: Trainer) -> Path:
    """Writes the folder's report on the kept weights; returns its path."""
    from training.report.html_report import (
        write_report,  # it takes a second, by what draws, which is not to delay the start
    )

    segmenter = None
    if trainer.validation:
        # the engine of the training: another one would take a second to build
        segmenter = Segmenter.load(trainer.folder.weights, engine="torch", device=str(trainer.machine.device))
    return write_report(trainer.folder, trainer.validation, segmenter)
