"""`python -m training.run --data DIR --out DIR`: turns a folder of images and labels into a weights file."""

import argparse
import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch
from pydantic import ValidationError

from model.engine import EngineError, choose_device
from model.weights_file import Description
from training.data import DataError, Sample, load_samples, split_samples
from training.inspection import inspect
from training.labels import LABEL_FORMATS
from training.recipe import RECIPES, Recipe
from training.run_folder import RunFolder
from training.trainer import Trainer, TrainingError


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code: 0, 1 if training failed, 2 for bad input, 130 after Ctrl-C."""
    arguments = parse(argv)
    try:
        trainer = prepare(arguments)
        best = trainer.run()
    except (DataError, EngineError, ValidationError, OSError) as error:
        print(f"training: {_first_line(error) if isinstance(error, ValidationError) else error}", file=sys.stderr)
        return 2
    except TrainingError as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ntraining: stopped; --resume goes on from {arguments.out}", file=sys.stderr)
        return 130
    reached = f"V_rand {best.score:.4f}" if best.scores else f"loss {-best.score:.4f}"
    print(f"best: step {best.step}, {reached}, threshold {best.threshold:.3g}")
    print(f"weights: {trainer.folder.weights}\nserve them: SEGMENT_WEIGHTS={trainer.folder.weights} python -m app")
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.run", description="Train a U-Net on a folder of images and labels."
    )
    parser.add_argument(
        "--data", type=Path, default=Path("data/train"), help="folder with image/ and label/ (default: data/train)"
    )
    parser.add_argument(
        "--label-format",
        choices=LABEL_FORMATS,
        default="mask",
        help="0 is background (the default), 0 is foreground, or each other value is an object",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/latest"), help="folder for weights and records (default: runs/latest)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="default")
    parser.add_argument("--width", type=int, help="channels of the first level (default: 32; tutorial: 64)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, help="passes over the images")
    length.add_argument("--steps", type=int, help="steps of the optimizer")
    parser.add_argument("--batch", type=int, help="images a step")
    parser.add_argument("--seed", type=_count, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--val-fraction", type=float, help="share of the images held out, the last ones, in one piece")
    parser.add_argument(
        "--workers", type=_count, default=min(4, (os.cpu_count() or 2) - 1), help="processes that load and augment"
    )
    parser.add_argument(
        "--channels", choices=("grey", "rgb"), help="what the net takes (default: rgb if the images are in colour)"
    )
    parser.add_argument("--name", default="unet", help="the name the weights are served under")
    parser.add_argument("--labels", nargs=2, metavar=("BACKGROUND", "FOREGROUND"), default=("background", "foreground"))
    return parser.parse_args(argv)


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value


def prepare(arguments: argparse.Namespace) -> Trainer:
    """Everything before the first step. Raises DataError, EngineError, ValidationError, TrainingError, OSError."""
    device = choose_device(arguments.device)
    samples = load_samples(arguments.data, arguments.label_format)
    print(*inspect(samples), sep="\n")
    recipe = choose_recipe(arguments, samples)
    training, validation = split_samples(samples, recipe.validation_fraction)
    if recipe.crop is None and recipe.batch > 1 and len({sample.label.shape for sample in training}) > 1:
        raise DataError("the images differ in size, and this recipe takes them whole: --batch must be 1")
    # The weights travel, and the service publishes what they say: file names and paths stay in the folder.
    provenance = {
        "trained": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "torch": torch.__version__,
        "images": {"training": len(training), "validation": len(validation)},
        "recipe": recipe.model_dump(mode="json"),
        "seed": arguments.seed,
    }
    background, foreground = arguments.labels
    description = Description(
        name=arguments.name,
        architecture=recipe.net,
        preprocessing=recipe.preprocessing,
        threshold=recipe.threshold,
        labels={0: background, 255: foreground},
        provenance=provenance,
    )
    folder = RunFolder(arguments.out, resume=arguments.resume)
    trainer = Trainer(
        recipe,
        description,
        training,
        validation,
        folder,
        device=device,
        seed=arguments.seed,
        workers=arguments.workers,
    )
    if arguments.resume:
        state = folder.load_checkpoint()
        if state is None:
            raise DataError(f"nothing to resume: no checkpoint in {arguments.out}")
        trainer.resume(state)
    else:
        folder.write_config(
            provenance
            | {
                "command": shlex.join(["python", "-m", "training.run", *sys.argv[1:]]),
                "training_images": [sample.name for sample in training],
                "validation_images": [sample.name for sample in validation],
            }
        )
    print(
        f"{len(training)} images to train on, {len(validation)} held out; {trainer.steps} steps of {recipe.batch} "
        f"on {device}; width {recipe.net.width}; into {arguments.out}"
    )
    return trainer


def choose_recipe(arguments: argparse.Namespace, samples: list[Sample]) -> Recipe:
    """The named recipe with the command line's changes, checked. Raises ValidationError."""
    channels = arguments.channels or ("rgb" if any(_coloured(sample) for sample in samples) else "grey")
    changed = RECIPES[arguments.recipe].model_dump()
    changed["preprocessing"]["channels"] = channels
    changed["net"]["in_channels"] = 3 if channels == "rgb" else 1
    if arguments.width is not None:
        changed["net"]["width"] = arguments.width
    if arguments.batch is not None:
        changed["batch"] = arguments.batch
    if arguments.val_fraction is not None:
        changed["validation_fraction"] = arguments.val_fraction
    if arguments.steps is not None or arguments.epochs is not None:
        changed |= {"steps": arguments.steps, "epochs": arguments.epochs}
    return Recipe.model_validate(changed)


def _coloured(sample: Sample) -> bool:
    pixels = sample.pixels
    return pixels.ndim == 3 and bool((pixels[:, :, :1] != pixels[:, :, 1:3]).any())


def _commit() -> str | None:
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],  # noqa: S607 - whichever git the user has
            capture_output=True,
            text=True,
            cwd=Path(__file__).parent,
        )
    except OSError:
        return None
    return found.stdout.strip() or None


def _first_line(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}, not {first['input']!r}"


if __name__ == "__main__":
    sys.exit(main())
