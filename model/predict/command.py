"""`python -m model.predict INPUT... --out DIR`: writes masks or other results of images, without a server.

Existing results are kept, so the same command resumes where it was stopped.
"""

import csv
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from model.errors import UserError
from model.outputs.output import OutputSpec
from model.predict.folder_table import NAME as TABLE
from model.predict.folder_table import join_tables
from model.predict.inputs import RESULT, find_images, is_tiff, is_zarr, name_results, stem
from model.predict.jobs import ImageJob, Runner
from model.predict.local_pipeline import Pipeline
from model.predict.predict_options import BAD_ARGUMENT, PredictOptions, parse, to_output_spec
from model.predict.progress_bar import Summary, run_images, stopping
from model.segmenter import Segmenter
from model.weights_file import Description

# How a result's name may end: pictures of a stack are a TIFF, all others PNG.
PICTURES = (".png", ".tif")
SUFFIXES = {"geojson": (".geojson",), "coco": (".json",), "table": (".csv",), "rois": (".zip",)}

# Outputs that are computed pixel by pixel, without the rest of the section.
VOLUME_OUTPUTS = ("mask", "probability")


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code: 0, 1 if an image failed, 2 after one line on stderr, 130 after Ctrl-C."""
    options = parse(argv)
    with ExitStack() as stack:
        try:
            images, problems, passed_over = find_images(options.inputs, options.out)
            names = name_results(images)
            _check_volumes(options, images)
            place = stack.enter_context(_open(options))
            output_spec = to_output_spec(options, place.description)
            options.out.mkdir(parents=True, exist_ok=True)
        except (UserError, OSError) as error:
            print(f"predict: {error}", file=sys.stderr)
            return BAD_ARGUMENT
        _tell_longer_names(names)
        _tell_passed_over(passed_over)
        summary = _predict(options, names, place, output_spec)
        summary.failed = problems | summary.failed
        for name, problem in summary.failed.items():
            print(f"predict: {name}: {problem}", file=sys.stderr)
        _tell_notices(summary.notices)
        print(summary)
        return summary.exit_code


def _predict(options: PredictOptions, names: Mapping[Path, str], place: "Place", output_spec: OutputSpec) -> Summary:
    """Makes the missing results."""
    targets = {image: (options.out / name).absolute() for image, name in names.items()}
    missing = {
        image: target
        for image, target in targets.items()
        if options.overwrite or not _is_there(target, _suffixes(options, image))
    }
    summary, runner = Summary(kept=len(targets) - len(missing)), place.open_runner(output_spec)
    volumes = {image: target for image, target in missing.items() if _is_volume(options, image)}
    jobs = {
        ImageJob(image.absolute(), target, options.channel): str(image)
        for image, target in missing.items()
        if image not in volumes
    }
    with stopping(runner, summary):
        if jobs:
            run_images(runner, jobs, summary)
        if volumes and not summary.stopped_by:
            _predict_volumes(options, volumes, place, output_spec, runner, summary)
    if options.output == "table":
        _join_tables(targets, options.out, summary)
    return summary


def _join_tables(targets: Mapping[Path, Path], out: Path, summary: Summary) -> None:
    """Joins the tables of all images; a problem is one more failure."""
    tables = {image: target.with_name(f"{target.name}.csv") for image, target in targets.items()}
    try:
        count = join_tables(tables, out)
    except (OSError, ValueError, csv.Error) as error:
        summary.failed[TABLE] = f"the tables were not joined: {error}"
    else:
        print(f"predict: {out / TABLE} has the {count} objects of all images", file=sys.stderr)


@dataclass(frozen=True)
class Place:
    """The place where jobs run, with its weights loaded; `label` identifies the weights."""

    description: Description
    label: str
    open_runner: Callable[[OutputSpec], Runner]


@contextmanager
def _open(options: PredictOptions) -> Iterator[Place]:
    """Yields this machine, or a Ray cluster that is joined for the duration. Raises UserError."""
    how: dict[str, Any] = {name: getattr(options, name) for name in ("engine", "device", "precision", "tile", "tta")}
    if options.ray is None:
        segmenter = Segmenter.load(options.weights, **how)
        yield Place(
            segmenter.description, segmenter.weights.label, lambda output_spec: Pipeline(segmenter, output_spec)
        )
        return
    if find_spec("ray") is None:
        raise UserError("--ray needs the package ray, which is not installed: the extra ray, or requirements/ray.txt")
    from model.predict.cluster import joined, machines, plan_workers
    from model.predict.ray_pipeline import RayPipeline

    with joined(options.ray or None):
        gpu = options.engine != "openvino" and not options.device.startswith("cpu")
        workers = plan_workers(machines(), count=options.workers, cpus=options.cpus, gpu=gpu)
        weights = options.weights and options.weights.absolute()
        pipeline = RayPipeline(workers, how | {"path": weights})
        yield Place(pipeline.description, pipeline.label, pipeline.with_output)


def _is_volume(options: PredictOptions, image: Path) -> bool:
    return is_zarr(image) or (options.volume and is_tiff(image))


def _check_volumes(options: PredictOptions, images: Sequence[Path]) -> None:
    """Raises UserError if the images include volumes that cannot be processed."""
    if not any(_is_volume(options, image) for image in images):
        return
    if options.output not in VOLUME_OUTPUTS:
        raise UserError(f"--output {options.output}: volumes have only the outputs {' and '.join(VOLUME_OUTPUTS)}")
    if options.min_area is not None:
        raise UserError(f"--min-area {options.min_area}: volumes keep objects of any size")
    if options.channel:
        raise UserError(f"--channel {options.channel}: volumes are segmented with all their channels")
    if find_spec("zarr") is None:
        raise UserError("volumes need the package zarr, which is not installed: the extra volumes")


def _predict_volumes(
    options: PredictOptions,
    targets: Mapping[Path, Path],
    place: Place,
    output_spec: OutputSpec,
    runner: Runner,
    summary: Summary,
) -> None:
    from model.predict.volumes.run_volumes import run_volumes
    from model.predict.volumes.volume_run import VolumeRun, begin_again

    recipe = {"weights": place.label, "tta": options.tta}
    volume_runs: dict[VolumeRun, str] = {}
    for image, target in targets.items():
        try:
            if options.overwrite:
                begin_again(target)
            volume_run = VolumeRun(image.absolute(), target, output_spec, recipe, place.description, options.tile)
            volume_runs[volume_run] = str(image)
        except OSError as error:
            summary.failed[str(image)] = error.strerror or str(error)
        except UserError as error:
            summary.failed[str(image)] = str(error)
    run_volumes(runner, volume_runs, summary)


def _suffixes(options: PredictOptions, image: Path) -> Sequence[str]:
    """Returns the possible suffixes of an image's result."""
    return (".zarr",) if _is_volume(options, image) else SUFFIXES.get(options.output, PICTURES)


def _is_there(target: Path, suffixes: Sequence[str]) -> bool:
    """Returns True if a result exists. It is complete then, because results get their names last."""
    return any(target.with_name(target.name + suffix).exists() for suffix in suffixes)


def _tell_longer_names(names: Mapping[Path, str]) -> None:
    longer = [name for image, name in names.items() if name != stem(image) + RESULT]
    if longer:
        text = f"{len(longer)} images share their names with others; results get longer ones, such as {longer[0]}"
        print(f"predict: {text}", file=sys.stderr)


def _tell_notices(notices: Mapping[str, Sequence[str]]) -> None:
    for notice, names in notices.items():
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        print(f"predict: {names[0]}{others}: {notice}", file=sys.stderr)


def _tell_passed_over(paths: Sequence[Path]) -> None:
    if paths:
        shown = ", ".join(path.name for path in paths[:3]) + (", ..." if len(paths) > 3 else "")
        print(f"predict: passed over what is no image by its name ({len(paths)}): {shown}", file=sys.stderr)
