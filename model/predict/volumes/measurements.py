"""Measurements of the sections of a volume, which are read box by box."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from model.predict.volumes.source import Box

Place: TypeAlias = tuple[int, int]
"""Time and section."""

Found = TypeVar("Found")


class Measurements(Generic[Found]):
    """The measurements of one kind; a section is known when all boxes that hold a part of the section are measured."""

    def __init__(self, known: dict[str, Any], boxes: Sequence[Box], merge: Callable[[list[Found]], Any]) -> None:
        """Starts from earlier measurements.

        Args:
            known: Measurements from before, as `known` returned them.
            boxes: All boxes of the volume.
            merge: Merges the measurements of a section's parts, in any order.
        """
        self.known = known
        """The measurements of whole sections, as a JSON file keeps them."""
        self._boxes, self._merge = boxes, merge
        self._parts: dict[Place, list[Found]] = {}
        self._boxes_of_a_section = sum((box.time, box.sections[0]) == (0, 0) for box in boxes)

    def __getitem__(self, place: Place) -> Any:
        return self.known[_key(place)]

    def left(self, needed: Iterable[Place]) -> list[Box]:
        """Returns the boxes to measure until all needed sections are known."""
        unknown = {place for place in needed if _key(place) not in self.known}
        return [box for box in self._boxes if any((box.time, number) in unknown for number in range(*box.sections))]

    def take(self, box: Box, found: Sequence[Found]) -> None:
        """Takes the measurements of the sections of a box."""
        for number, part in zip(range(*box.sections), found, strict=True):
            place = box.time, number
            self._parts.setdefault(place, []).append(part)
            if len(self._parts[place]) == self._boxes_of_a_section:
                self.known[_key(place)] = self._merge(self._parts.pop(place))


def _key(place: Place) -> str:
    return f"{place[0]},{place[1]}"
