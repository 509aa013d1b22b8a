"""`python -m model.predict INPUT... --out DIR`: images to files of masks or other results, without a server.

A result that is there already is kept, so the same command goes on where it was stopped.
"""

import argparse
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from model.bulk.jobs import ImageJob, Job, Outcome, Runner
from model.bulk.pipeline import Pipeline
from model.engines.choice import ENGINES, PRECISIONS
from model.engines.tta import COUNTS
from model.folder import RESULT, find_images, name_results
from model.outputs.output import OUTPUTS, Wanted
from model.segmenter import TILE, Segmenter
from model.weights_file import Description

# How a result's name may end: pictures of a stack are a TIFF, all others PNG.
PICTURES = (".png", ".tif")
SUFFIXES = {"geojson": (".geojson",), "coco": (".json",)}

FAILED, BAD_ARGUMENT = 1, 2
STOPPED = 128  # and the signal's number: 130 after Ctrl-C

# What --ray may be followed by; all else is an input.
ADDRESS = re.compile(r"auto|local|(ray://)?[\w.-]+:\d+")


@dataclass
class Summary:
    """What became of the images. `failed`: images, or inputs that mean none, and why."""

    failed: dict[str, str]
    kept: int = 0
    done: int = 0
    stopped_by: int = 0
    """A signal's number."""

    @property
    def exit_code(self) -> int:
        if self.stopped_by:
            return STOPPED + self.stopped_by
        return FAILED if self.failed else 0

    def __str__(self) -> str:
        kept = f"{self.kept} kept from before (--overwrite makes them again)" if self.kept else "0 kept from before"
        text = f"{self.done} done, {kept}, {len(self.failed)} failed"
        return f"{text}; stopped, the same command goes on from here" if self.stopped_by else text


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code: 0, 1 if an image failed, 2 after one line on stderr, 130 after Ctrl-C."""
    arguments = _parse(argv)
    with ExitStack() as stack:
        try:
            images, problems = find_images(arguments.inputs, arguments.out)
            names = name_results(images)
            description, open_runner = stack.enter_context(_place(arguments))
            wanted = _wanted(arguments, description)
            arguments.out.mkdir(parents=True, exist_ok=True)
        except (ValueError, OSError) as error:
            print(f"predict: {error}", file=sys.stderr)
            return BAD_ARGUMENT
        _tell_longer_names(names)
        targets = {image: arguments.out / name for image, name in names.items()}
        missing = [
            ImageJob(image, target)
            for image, target in targets.items()
            if arguments.overwrite or not _is_there(target, wanted)
        ]
        summary = Summary(problems, kept=len(targets) - len(missing))
        _predict(open_runner(wanted), missing, summary)
        for name, problem in summary.failed.items():
            print(f"predict: {name}: {problem}", file=sys.stderr)
        print(summary)
        return summary.exit_code


@contextmanager
def _place(arguments: argparse.Namespace) -> Iterator[tuple[Description, Callable[[Wanted], Runner]]]:
    """Where the work is done: here, or on a Ray cluster, which is joined within. Raises ValueError."""
    how = {name: getattr(arguments, name) for name in ("engine", "device", "precision", "tile", "tta")}
    if arguments.ray is None:
        segmenter = Segmenter.load(arguments.weights, **how)
        yield segmenter.description, lambda wanted: Pipeline(segmenter, wanted)
        return
    if find_spec("ray") is None:
        raise ValueError("--ray needs the package ray, which is not installed: the extra ray, or requirements/ray.txt")
    from model.bulk.cluster import joined, machines, plan_workers
    from model.bulk.ray_pipeline import RayPipeline

    with joined(arguments.ray or None):
        gpu = arguments.engine != "openvino" and not arguments.device.startswith("cpu")
        workers = plan_workers(machines(), count=arguments.workers, cpus=arguments.cpus, gpu=gpu)
        weights = arguments.weights and arguments.weights.resolve()
        pipeline = RayPipeline(workers, how | {"path": weights})
        yield pipeline.description, pipeline.wanting


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage, which is longer than what is wrong."""
        self.exit(BAD_ARGUMENT, f"predict: {message}\n")


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="python -m model.predict", description="Segment images, with no server.")
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+", help="an image, a folder of images, or a glob in quotes ('runs/**/*.tif')"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for the results, NAME_res.png")
    parser.add_argument("--output", choices=OUTPUTS, default="mask", help="default: mask")
    parser.add_argument(
        "--threshold", type=float, help="for nets of one class; default: the one stored with the weights"
    )
    parser.add_argument("--class", dest="class_index", type=int, default=0, help="whose probability; default: 0")
    parser.add_argument("--overwrite", action="store_true", help="make results again that are there already")
    parser.add_argument("--weights", metavar="FILE", type=Path, help="default: the bundled ones")
    parser.add_argument("--engine", choices=ENGINES, default="auto")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--tile", type=int, default=TILE, help=f"side of the largest tile, pixels; default: {TILE}")
    parser.add_argument("--tta", type=int, choices=COUNTS, default=1, help="average over so many flips and turns")
    _add_cluster(parser)
    arguments = parser.parse_args(_apart(sys.argv[1:] if argv is None else argv))
    if arguments.ray is None and (arguments.workers or arguments.cpus):
        parser.error("--workers and --cpus are of use with --ray alone")
    return arguments


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("on a Ray cluster, whose machines share the files")
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        nargs="?",
        const="",
        help="host:port; without: the one of RAY_ADDRESS or of this machine, else one that is started here",
    )
    group.add_argument("--workers", metavar="N", type=_positive, help="default: as many as fill the cluster")
    group.add_argument("--cpus", metavar="N", type=_positive, help="of each worker; default: its machine's, 8 at most")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _apart(argv: Sequence[str]) -> list[str]:
    """With `--ray` told from the input that follows it, if that is no address."""
    following = [*argv[1:], ""]
    return [
        "--ray=" if text == "--ray" and not ADDRESS.fullmatch(after) else text
        for text, after in zip(argv, following, strict=True)
    ]


def _wanted(arguments: argparse.Namespace, description: Description) -> Wanted:
    """Raises ValueError."""
    threshold, last = arguments.threshold, description.architecture.classes - 1
    if threshold is not None and not 0 < threshold < 1:
        raise ValueError(f"--threshold {threshold:g}: a number between 0 and 1 is expected")
    if not 0 <= arguments.class_index <= last:
        raise ValueError(f"--class {arguments.class_index}: the net's classes are 0 to {last}")
    return Wanted(arguments.output, threshold, arguments.class_index)


def _is_there(target: Path, wanted: Wanted) -> bool:
    """Whether a result is there; it is whole then, for results get their names last."""
    suffixes = SUFFIXES.get(wanted.output, PICTURES)
    return any(target.with_name(target.name + suffix).exists() for suffix in suffixes)


def _tell_longer_names(names: Mapping[Path, str]) -> None:
    longer = [name for image, name in names.items() if name != image.stem + RESULT]
    if longer:
        text = f"{len(longer)} images share their names with others; results get longer ones, such as {longer[0]}"
        print(f"predict: {text}", file=sys.stderr)


def _predict(runner: Runner, jobs: Sequence[ImageJob], summary: Summary) -> None:
    """Makes the results, beside a progress bar if stderr is a terminal."""
    failed: dict[Job, str] = {}
    with _stopping(runner, summary), tqdm(total=len(jobs), unit="image", disable=None) as bar:

        def seen(job: Job, outcome: Outcome) -> None:
            bar.update(job.steps)
            if outcome.problem is None:
                summary.done += 1
            else:
                failed[job] = outcome.problem

        runner.run(jobs, seen)
    # in the order of the images, not in that in which they were done
    summary.failed |= {str(job.image): failed[job] for job in jobs if job in failed}


@contextmanager
def _stopping(runner: Runner, summary: Summary) -> Iterator[None]:
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


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before the first image
        sys.exit(STOPPED + signal.SIGINT)
