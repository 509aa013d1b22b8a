"""The run of one volume: its remaining jobs, and the handling of their outcomes."""

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import UserError
from model.outputs.output import OutputSpec, renderer
from model.predict.jobs import Job
from model.predict.volumes.moments import Sums, add, affine
from model.predict.volumes.plan import VolumePart, VolumePlan, boxes
from model.predict.volumes.result import SUFFIX, UNFINISHED, ResultError, VolumeResult, create
from model.predict.volumes.source import Volume, open_volume
from model.predict.volumes.volume_jobs import MeasureJob, SegmentJob, chunks
from model.preprocessing import Affine, Values
from model.weights_file import Description

# What is measured is written down so often.
SAVED_EVERY_S = 10


class VolumeRun:
    """A volume that becomes a result: which jobs are left, and what has come of those that are done."""

    def __init__(
        self,
        path: Path,
        target: Path,
        output_spec: OutputSpec,
        recipe: dict[str, Any],
        description: Description,
        tile: int,
    ) -> None:
        """Resumes an unfinished result, or begins one.

        `target` is the path without its suffix. `recipe` holds everything else that the result depends on; it is stored
        with the result. Raises ImageError, ResultError, UserError, OSError.
        """
        self.path = path
        self.target = target.with_name(target.name + SUFFIX)
        self._volume, self._description = open_volume(path), description
        _check_channels(self._volume, description)
        self._plan = VolumePlan.of(self._volume, description, tile)
        threshold = description.threshold if output_spec.threshold is None else output_spec.threshold
        self._result = self._begun(
            recipe
            | {"output": output_spec.output, "threshold": threshold, "class": output_spec.class_index}
            | {"chunk": list(self._plan.chunk), "shape": list(self._shape), "type": str(self._volume.dtype)},
            renderer(output_spec, description)(np.zeros((description.architecture.classes, 0, 0), np.float32)).dtype,
        )
        self._moments: dict[str, Any] = self._result.moments()
        self._sums: dict[tuple[int, int], list[Sums]] = {}
        self._boxes = list(boxes(self._volume))
        self._boxes_of_a_section = sum((box.time, box.sections[0]) == (0, 0) for box in self._boxes)
        self._saved = time.monotonic()

    @property
    def _shape(self) -> tuple[int, ...]:
        volume = self._volume
        return volume.times, volume.sections, volume.height, volume.width

    def _begun(self, recipe: dict[str, Any], dtype: np.dtype[Any]) -> VolumeResult:
        folder = unfinished(self.target)
        if not folder.exists():
            return create(folder, self._volume, dtype, self._plan.chunk, recipe)
        result = VolumeResult(folder)
        if result.recipe != recipe:
            other = [key for key in recipe if result.recipe.get(key) != recipe[key]]
            raise ResultError(f"it was begun with another {', '.join(other)}: --overwrite begins it again")
        return result

    def measuring(self) -> list[Job]:
        """Returns the measuring jobs: none if the net needs no moments, or if all sections are measured."""
        if self._description.preprocessing.normalisation != "zscore":
            return []
        needed = {(part.time, number) for part in self._missing() for number in range(*part.sections)}
        needed = {place for place in needed if _key(place) not in self._moments}
        return [
            MeasureJob(self.path, box)
            for box in self._boxes
            if any((box.time, number) in needed for number in range(*box.sections))
        ]

    def measured(self, job: MeasureJob, found: Sequence[Sums]) -> None:
        """Takes what a job has found. Raises OSError."""
        for number, part in zip(range(*job.box.sections), found, strict=True):
            place = job.box.time, number
            self._sums.setdefault(place, []).append(part)
            if len(self._sums[place]) == self._boxes_of_a_section:
                self._moments[_key(place)] = add(self._sums.pop(place))
        if time.monotonic() > self._saved + SAVED_EVERY_S:
            self.save()

    def save(self) -> None:
        """Stores measured moments. Raises OSError."""
        self._saved = time.monotonic()
        if self._moments:
            self._result.keep_moments(self._moments)

    def segmenting(self) -> list[Job]:
        """Returns the remaining jobs after all sections are measured."""
        return [
            SegmentJob(
                self.path, self._result.folder, part, [self._affine((part.time, z)) for z in range(*part.sections)]
            )
            for part in self._missing()
        ]

    def _missing(self) -> Iterator[VolumePart]:
        has = self._result.has
        return (
            part
            for part in self._plan.parts(self._volume)
            if not all(has(*place, tile) for place, tile in chunks(part))
        )

    def _affine(self, place: tuple[int, int]) -> Affine:
        preprocessing, volume = self._description.preprocessing, self._volume
        if preprocessing.normalisation != "zscore":
            return preprocessing.fixed(self._description.architecture.in_channels, volume.dtype)
        return affine(self._moments[_key(place)], volume.height * volume.width, volume.dtype)

    @property
    def chunks(self) -> int:
        """Returns the size of the whole result."""
        count: int = self._volume.times * self._volume.sections * self._plan.count
        return count

    def finish(self) -> None:
        """Raises OSError."""
        self._result.finish(self.target)


def unfinished(target: Path) -> Path:
    """Returns the name of a result, NAME_res.zarr, until it is complete."""
    return target.with_name(target.name.removesuffix(SUFFIX) + UNFINISHED)


def begin_again(target: Path) -> None:
    """Removes what is unfinished of a result (a path without its suffix). Raises OSError."""
    folder = unfinished(target.with_name(target.name + SUFFIX))
    if folder.exists():
        shutil.rmtree(folder)


def _key(place: tuple[int, int]) -> str:
    return f"{place[0]},{place[1]}"


def _check_channels(volume: Volume, description: Description) -> None:
    """Raises ValueError if the net takes no such volume."""
    taken = description.architecture.in_channels
    pixel: Values = np.zeros((1, 1, volume.channels), volume.dtype)
    given = description.preprocessing.arrange(pixel).shape[2]
    # channels that are no colours, stains for one, make no grey
    if given != taken or not (volume.colours or volume.channels in (1, taken)):
        raise UserError(f"the net takes {taken} channels, the volume has {volume.channels}")
