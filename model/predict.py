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

from model.bulk.jobs import ImageJob, Runner
from model.bulk.pipeline import Pipeline
from model.bulk.progress import STOPPED, Summary, run_images, stopping
from model.engines.choice import ENGINES, PRECISIONS
from model.engines.tta import COUNTS
from model.folder import RESULT, find_images, name_results, stem
from model.outputs.output import OUTPUTS, Wanted
from model.segmenter import TILE, Segmenter
from model.weights_file import Description

# How a result's name may end: pictures of a stack are a TIFF, all others PNG.
PICTURES = (".png", ".tif")
SUFFIXES = {"geojson": (".geojson",), "coco": (".json",)}

TIFF = (".tif", ".tiff")
# What is known of a pixel without the rest of its section.
VOLUME_OUTPUTS = ("mask", "probability")

BAD_ARGUMENT = 2

# What --ray may be followed by; all else is an input.
ADDRESS = re.compile(r"auto|local|(ray://)?[\w.-]+:\d+")


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code: 0, 1 if an image failed, 2 after one line on stderr, 130 after Ctrl-C."""
    arguments = _parse(argv)
    with ExitStack() as stack:
        try:
            images, problems = find_images(arguments.inputs, arguments.out)
            names = name_results(images)
            _check_volumes(arguments, images)
            place = stack.enter_context(_open(arguments))
            wanted = _wanted(arguments, place.description)
            arguments.out.mkdir(parents=True, exist_ok=True)
        except (ValueError, OSError) as error:
            print(f"predict: {error}", file=sys.stderr)
            return BAD_ARGUMENT
        _tell_longer_names(names)
        summary = _predict(arguments, names, place, wanted)
        summary.failed = problems | summary.failed
        for name, problem in summary.failed.items():
            print(f"predict: {name}: {problem}", file=sys.stderr)
        print(summary)
        return summary.exit_code


def _predict(arguments: argparse.Namespace, names: Mapping[Path, str], place: "Place", wanted: Wanted) -> Summary:
    """Makes the results that are not there."""
    targets = {image: (arguments.out / name).absolute() for image, name in names.items()}
    missing = {
        image: target
        for image, target in targets.items()
        if arguments.overwrite or not _is_there(target, _suffixes(arguments, image))
    }
    summary, runner = Summary(kept=len(targets) - len(missing)), place.open_runner(wanted)
    volumes = {image: target for image, target in missing.items() if _is_volume(arguments, image)}
    jobs = {ImageJob(image.absolute(), target): str(image) for image, target in missing.items() if image not in volumes}
    with stopping(runner, summary):
        if jobs:
            run_images(runner, jobs, summary)
        if volumes and not summary.stopped_by:
            _predict_volumes(arguments, volumes, place, wanted, runner, summary)
    return summary


@dataclass(frozen=True)
class Place:
    """Where the work is done, with weights loaded there; `label` is what tells them from others."""

    description: Description
    label: str
    open_runner: Callable[[Wanted], Runner]


@contextmanager
def _open(arguments: argparse.Namespace) -> Iterator[Place]:
    """This machine, or a Ray cluster, which is joined within. Raises ValueError."""
    how = {name: getattr(arguments, name) for name in ("engine", "device", "precision", "tile", "tta")}
    if arguments.ray is None:
        segmenter = Segmenter.load(arguments.weights, **how)
        yield Place(segmenter.description, segmenter.weights.label, lambda wanted: Pipeline(segmenter, wanted))
        return
    if find_spec("ray") is None:
        raise ValueError("--ray needs the package ray, which is not installed: the extra ray, or requirements/ray.txt")
    from model.bulk.cluster import joined, machines, plan_workers
    from model.bulk.ray_pipeline import RayPipeline

    with joined(arguments.ray or None):
        gpu = arguments.engine != "openvino" and not arguments.device.startswith("cpu")
        workers = plan_workers(machines(), count=arguments.workers, cpus=arguments.cpus, gpu=gpu)
        weights = arguments.weights and arguments.weights.absolute()
        pipeline = RayPipeline(workers, how | {"path": weights})
        yield Place(pipeline.description, pipeline.label, pipeline.wanting)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage, which is longer than what is wrong."""
        self.exit(BAD_ARGUMENT, f"predict: {message}\n")


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="python -m model.predict", description="Segment images, with no server.")
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="an image or OME-Zarr, a folder of them, or a glob in quotes",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for the results, NAME_res.png")
    parser.add_argument("--output", choices=OUTPUTS, default="mask", help="default: mask")
    parser.add_argument(
        "--threshold", type=float, help="for nets of one class; default: the one stored with the weights"
    )
    parser.add_argument("--class", dest="class_index", type=int, default=0, help="whose probability; default: 0")
    parser.add_argument("--volume", action="store_true", help="read TIFF files part by part; results are OME-Zarr")
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


def _is_volume(arguments: argparse.Namespace, image: Path) -> bool:
    return image.is_dir() or (arguments.volume and image.suffix.lower() in TIFF)


def _check_volumes(arguments: argparse.Namespace, images: Sequence[Path]) -> None:
    """Raises ValueError if there are volumes among the images that nothing can be made of."""
    if not any(_is_volume(arguments, image) for image in images):
        return
    if arguments.output not in VOLUME_OUTPUTS:
        raise ValueError(f"--output {arguments.output}: of volumes {' and '.join(VOLUME_OUTPUTS)} can be made")
    missing = [name for name in ("zarr", "tifffile") if find_spec(name) is None]
    if missing:
        raise ValueError(f"volumes need the package {missing[0]}, which is not installed: the extra volumes")


def _predict_volumes(
    arguments: argparse.Namespace,
    targets: Mapping[Path, Path],
    place: Place,
    wanted: Wanted,
    runner: Runner,
    summary: Summary,
) -> None:
    from model.bulk.undertaking import Undertaking, begin_again
    from model.bulk.volumes import run_volumes

    recipe = {"weights": place.label, "tta": arguments.tta}
    undertakings: dict[Undertaking, str] = {}
    for image, target in targets.items():
        try:
            if arguments.overwrite:
                begin_again(target)
            undertaking = Undertaking(image.absolute(), target, wanted, recipe, place.description, arguments.tile)
            undertakings[undertaking] = str(image)
        except OSError as error:
            summary.failed[str(image)] = error.strerror or str(error)
        except ValueError as error:
            summary.failed[str(image)] = str(error)
    run_volumes(runner, undertakings, summary)


def _suffixes(arguments: argparse.Namespace, image: Path) -> Sequence[str]:
    """How the name of its result may end."""
    return (".zarr",) if _is_volume(arguments, image) else SUFFIXES.get(arguments.output, PICTURES)


def _is_there(target: Path, suffixes: Sequence[str]) -> bool:
    """Whether a result is there; it is whole then, for results get their names last."""
    return any(target.with_name(target.name + suffix).exists() for suffix in suffixes)


def _tell_longer_names(names: Mapping[Path, str]) -> None:
    longer = [name for image, name in names.items() if name != stem(image) + RESULT]
    if longer:
        text = f"{len(longer)} images share their names with others; results get longer ones, such as {longer[0]}"
        print(f"predict: {text}", file=sys.stderr)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before the first image
        sys.exit(STOPPED + signal.SIGINT)
