"""From the command line's options to a trainer, and from its end to what is said about it."""

import argparse
import math
import sys
from pathlib import Path

import torch
from pydantic import ValidationError

from model.engines.engine import EngineError
from model.engines.pytorch import choose_device
from model.segmenter import Segmenter
from model.weights_file import Objects, Weights, WeightsError
from training import memory, pace
from training.checkpoints import Checkpoints, State
from training.data import DataError, Sample, fingerprint, split_samples
from training.evaluation import ClassEvaluation, Evaluation
from training.initial import initial_weights
from training.inspection import background_is_borders
from training.machine import Machine
from training.memory import TooLittleMemory
from training.options import check_options, make_recipe
from training.processes import ALONE, Processes
from training.provenance import configuration, describe, today
from training.recipe import Recipe
from training.run_folder import RunFolder
from training.trainer import Limits, Trainer, TrainingError


def run(arguments: argparse.Namespace, samples: list[Sample], processes: Processes) -> int:
    """Trains; returns the exit code of the command, the same in all processes.

    Raises DataError, KeyboardInterrupt before the first step.
    """
    memory.keep_freed()
    try:
        return _train(arguments, prepare(arguments, samples, processes))
    except (EngineError, WeightsError, TooLittleMemory) as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(_cannot_write(arguments.out, error)) from error


def _train(arguments: argparse.Namespace, trainer: Trainer) -> int:
    """All that is after the first checkpoint: whatever comes, `--resume` can go on."""
    processes = trainer.machine.processes
    try:
        trainer.run()
        processes.say(*processes.on_main(lambda: [finish(arguments, trainer), f"report: {report(trainer)}"]))
    except TrainingError as error:
        processes.say(f"training: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        kept = f"all up to step {trainer.saved_step} is kept, and --resume goes on from there"
        processes.say(f"training: {_cannot_write(trainer.folder.path, error)}; {kept}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        processes.say(f"training: stopped; --resume goes on from {trainer.folder.path}", file=sys.stderr)
        return 130
    return 0


def _cannot_write(folder: Path, error: OSError) -> str:
    return f"{folder}: cannot be written to ({error.strerror or error})"


def prepare(arguments: argparse.Namespace, samples: list[Sample], processes: Processes = ALONE) -> Trainer:
    """Everything before the first step; the folder is touched last.

    Raises DataError, EngineError, WeightsError, TooLittleMemory, OSError: the same in all processes, since they have
    the same data and options, and files are read and written by the main one.
    """
    processes.same("images or labels", lambda: fingerprint(samples))
    device = processes.each(lambda: choose_device(processes.device(arguments.device)))
    init = processes.on_main(lambda: initial_weights(arguments, samples))
    state = processes.on_main(lambda: _checkpoint(arguments.out)) if arguments.resume else None
    recipe = make_recipe(arguments, samples, init)
    training, validation = split_samples(samples, recipe.validation_fraction)
    check_options(arguments, recipe, validation)
    machine = _machine(arguments, recipe, training, device, processes, state)
    if arguments.minutes:
        may_narrow = init is None and arguments.width is None and recipe.name == "default"
        if state:
            recipe = _as_planned(recipe, state, may_narrow)
        else:
            recipe = pace.fit(recipe, machine, arguments.minutes, training, validation, may_narrow=may_narrow)
    images = {"training": len(training), "validation": len(validation)}
    begun = state["trained"] if state else today()
    description = describe(arguments, recipe, images, _objects(arguments, samples, init), init, begun)
    trainer = Trainer(
        recipe,
        description,
        training,
        validation,
        processes.on_main(lambda: RunFolder(arguments.out, resume=state is not None)),
        machine,
        seed=arguments.seed,
        init=init.tensors if init else None,
        limits=Limits(60 * arguments.minutes if arguments.minutes else math.inf, arguments.patience),
    )
    if state:
        trainer.resume(state)
        processes.on_main(trainer.folder.occupy)
    # before anything else is in the folder: whatever is there has a checkpoint, and a disk that is full is known of now
    trainer.save()
    processes.on_main(lambda: trainer.folder.write_config(configuration(arguments, trainer)))
    processes.say(_introduction(trainer, init))
    return trainer


def finish(arguments: argparse.Namespace, trainer: Trainer) -> str:
    """What there is to say at the end; it is noted in the folder, too."""
    best, lines = trainer.best, []
    if trainer.ended != "finished":
        lines.append(f"stopped at step {trainer.step} of {trainer.steps}: {trainer.ended}")
    if trainer.ended == "out of time" and not arguments.resume:
        lines.append("this machine was slower than when its pace was measured; the next --minutes measures it anew")
        pace.forget(trainer.recipe, trainer.machine, trainer.stream.samples)
    several = trainer.recipe.net.classes > 1
    if best.scores:
        measure = (ClassEvaluation if several else Evaluation).MEASURE
        reached = f"{measure} {best.score:.4f} on the held-out images"
    elif trainer.recipe.select == "training_loss":
        reached = f"loss {-best.score:.4f}"
    else:
        reached = "no images held out, so nothing is known of how good they are"
    threshold = "" if several else f"; threshold {best.threshold:.3g}"
    lines.append(f"kept: the weights of step {best.step}, {reached}{threshold}")
    weights = trainer.folder.weights
    trainer.folder.write_config(configuration(arguments, trainer) | {"ended": trainer.ended})
    return "\n".join([*lines, f"weights: {weights}", f"serve them: SEGMENT_WEIGHTS={weights} python -m app"])


def report(trainer: Trainer) -> Path:
    """Writes the folder's report on the kept weights; returns its path."""
    from training.report import write_report  # it takes a second, by what draws, which is not to delay the start

    segmenter = (
        Segmenter.load(trainer.folder.weights, device=str(trainer.machine.device)) if trainer.validation else None
    )
    return write_report(trainer.folder, trainer.validation, segmenter)


def _machine(
    arguments: argparse.Namespace,
    recipe: Recipe,
    training: list[Sample],
    device: torch.device,
    processes: Processes,
    state: State | None,
) -> Machine:
    """The device and how a batch is computed on it. Raises DataError, TooLittleMemory."""
    height, width = _input_size(recipe, training)
    parts: int = state["parts"] if state else 1  # a resumed training goes on as it began, if it fits other processes
    if not state or state.get("processes", 1) != processes.count:
        parts = max(parts, memory.choose_parts(recipe, height, width, device, arguments.workers, processes))
    machine = Machine(device, arguments.workers, parts, arguments.compile, processes, arguments.sync_batch_norm)
    side = recipe.net.stride
    if machine.fewest_normalised(recipe.batch) == 1 and max(height, width) <= side:
        raise DataError(
            f"{width} x {height} pixels are too few to train on one image at a time: the net's lowest level would be a "
            f"single pixel; use more than {side} pixels on a side (--crop), or a --batch of at least 2"
        )
    return machine


def _as_planned(recipe: Recipe, state: State, may_narrow: bool) -> Recipe:
    """With the length, and the width if that was free, that the checkpoint's training was planned with."""
    try:
        planned = Recipe.model_validate_json(state["recipe"])
    except ValidationError as error:
        raise DataError(
            "the checkpoint is of another version, and its plan cannot be read; train afresh, without --resume"
        ) from error
    length = {"steps": planned.steps, "epochs": None, "check_every": planned.check_every}
    width = planned.net.width if may_narrow else recipe.net.width
    return recipe.model_copy(update=length | {"net": recipe.net.model_copy(update={"width": width})})


def _input_size(recipe: Recipe, training: list[Sample]) -> tuple[int, int]:
    """(height, width) of what a step takes. Raises DataError if images of several sizes would make one batch."""
    if recipe.crop:
        return recipe.crop, recipe.crop
    sizes = {sample.label.shape for sample in training}
    if recipe.batch > 1 and len(sizes) > 1:
        raise DataError("the images differ in size, and this recipe takes them whole: --batch must be 1")
    height, width = max(sizes, key=lambda size: size[0] * size[1])
    return height, width


def _checkpoint(path: Path) -> State | None:
    """What to go on from; None if nothing has been written yet. Raises DataError if nothing of it can be read."""
    if RunFolder(path, resume=True).is_being_put_aside:
        return None
    state, problem = Checkpoints(path).load()
    if state is None:
        print(f"{path}: no checkpoint yet, starting from the beginning", flush=True)
    elif problem:
        print(f"{problem}; going on from the checkpoint before, step {state['step']}", file=sys.stderr)
    return state


def _objects(arguments: argparse.Namespace, samples: list[Sample], init: Weights | None) -> Objects:
    """What the service is to count: as asked for, as the weights to start from say, or what the labels look like."""
    known: Objects | None = arguments.objects or (init.description.objects if init else None)
    if known:
        return known
    return "interiors" if arguments.scheme.classes == 1 and background_is_borders(samples) else "regions"


def _introduction(trainer: Trainer, init: Weights | None) -> str:
    recipe, machine = trainer.recipe, trainer.machine
    begin = f", starting from {init.label}" if init else ""
    count = machine.processes.count
    shared = f", shared by {count} processes" if count > 1 else ""
    lines = [
        f"{len(trainer.stream.samples)} images to train on, {len(trainer.validation)} held out; "
        f"{trainer.steps} steps of {recipe.batch} on {machine.device}{shared}; width {recipe.net.width}{begin}; "
        f"into {trainer.folder.path}"
    ]
    if machine.parts > 1:
        lines.append(f"memory is short: each batch of {recipe.batch} is computed in {machine.parts} parts")
    if count > recipe.batch:
        lines.append(f"warning: {count - recipe.batch} of {count} processes have nothing to do; a larger --batch?")
    return "\n".join(lines)
