"""Names of image and label files: which label belongs to which image."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from model.predict.inputs import in_natural_order

_IMAGE_WORDS = r"image|img|training|train|test|original"
_LABEL_WORDS = (
    r"masks?|manual\d*|1stho|labels?|gt|groundtruth|ground_truth|seg|segmentation|annotations?|instances?|ids?|target"
)
_IMAGE_MARKS = re.compile(rf"[ _.-]+(?:{_IMAGE_WORDS})$|^(?:image|img)[ _.-]+", re.IGNORECASE)
_LABEL_MARKS = re.compile(rf"[ _.-]+(?:{_LABEL_WORDS})$|^(?:masks?|labels?|gt|seg)[ _.-]+", re.IGNORECASE)


def stem_of(path: Path) -> str:
    """The file's name without suffix, composed (NFC): a Mac stores accents as other code points."""
    return unicodedata.normalize("NFC", path.stem)


def name_of(path: Path, folder: Path) -> str:
    """The path below a folder, without suffix and with "/" between its parts: "monday/cell 7"."""
    return "/".join(
        [unicodedata.normalize("NFC", part) for part in path.relative_to(folder).parts[:-1]] + [stem_of(path)]
    )


def is_marked(name: str) -> bool:
    """True if the name's last part has a word that labels have, as in `cell_mask`."""
    return _without(_LABEL_MARKS, name.rpartition("/")[2]) != name.rpartition("/")[2]


def image_key(name: str) -> str:
    """The name in lower case, without words that images have: "21_training" -> "21"."""
    return _key(name, _IMAGE_MARKS)


def label_key(name: str) -> str:
    """The name in lower case, without words that labels or images have: "21_training_mask" -> "21"."""
    return _key(name, _LABEL_MARKS, _IMAGE_MARKS)


def _key(name: str, *marks: re.Pattern[str]) -> str:
    folder, slash, stem = name.rpartition("/")
    for mark in marks:
        stem = _without(mark, stem)
    return (folder + slash + stem).casefold()


def _without(mark: re.Pattern[str], stem: str) -> str:
    """The stem without its marks; the stem itself where nothing else is left."""
    while (shorter := mark.sub("", stem)) not in ("", stem):
        stem = shorter
    return stem


def files_below(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Files in a folder and its subfolders with one of the suffixes, none of them hidden, in natural order."""
    wanted = frozenset(suffixes)
    return in_natural_order(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in wanted and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def listed_paths(paths: Iterable[Path]) -> str:
    """The paths as messages name them."""
    return ", ".join(map(str, paths))


def is_text(name: str) -> bool:
    """True if a file's name can be written into logs and reports; Linux allows any bytes in names."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
