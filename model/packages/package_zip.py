"""The members of a package (.zip). They are read into memory; nothing is unpacked to the names in the package."""

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path, PurePosixPath

from model.errors import WeightsError

# What the weights file is called in a package of this project.
PACKAGED = "weights.safetensors"
DESCRIPTIONS = ("rdf.yaml", "bioimageio.yaml")
# Weights hardly shrink when they are zipped. What grows more than this is no weights, and may be larger than memory.
MOST_GROWTH = 10
# Descriptions have a few kilobytes. The time of a parser in Python grows faster than the size if values are nested.
LARGEST_DESCRIPTION = 64 * 1024


class PackageZip:
    """An open package. All methods raise WeightsError, which names the file."""

    def __init__(self, path: Path, file: BufferedReader, zipped: zipfile.ZipFile) -> None:
        self.path, self._file, self._zipped = path, file, zipped
        self._size = path.stat().st_size
        self._members = {member.filename: member for member in zipped.infolist()}

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator["PackageZip"]:
        """Opens a package. Also reports what is wrong with the .zip while it is open."""
        try:
            with path.open("rb") as file, zipfile.ZipFile(file) as zipped:
                yield cls(path, file, zipped)
        except WeightsError:
            raise
        except FileNotFoundError as error:
            raise WeightsError(f"weights {path}: no such file") from error
        except OSError as error:
            raise WeightsError(f"weights {path}: cannot be read ({error.strerror})") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            raise WeightsError(f"weights {path}: broken or truncated, or not a package") from error

    @property
    def sha256(self) -> str:
        """The sha256 of the .zip's bytes in hex."""
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()

    @property
    def is_own(self) -> bool:
        """True for packages of this project, which hold a weights file."""
        return PACKAGED in self._members

    def own_weights(self) -> bytes:
        """The weights file in a package of this project."""
        if not self.is_own:
            raise WeightsError(
                f"weights {self.path}: a package without {PACKAGED}, so not of training.export --to bioimageio"
            )
        return self._read(PACKAGED, MOST_GROWTH * self._size)

    def description(self) -> bytes:
        """The text of the package's description."""
        name = next((name for name in DESCRIPTIONS if name in self._members), None)
        if name is None:
            needed = " or ".join([", ".join([PACKAGED, *DESCRIPTIONS[:-1]]), DESCRIPTIONS[-1]])
            raise WeightsError(f"weights {self.path}: a package without {needed}")
        return self._read(name, LARGEST_DESCRIPTION)

    def source(self, field: str, name: str, sha256: str | None) -> bytes:
        """A file that the description names in a field; its sha256 must be the described one, if there is one."""
        member = str(PurePosixPath(name))
        if member not in self._members:
            raise WeightsError(f"weights {self.path}: {field}: {name} is not in the package; only its files are read")
        data = self._read(member, MOST_GROWTH * self._size)
        if sha256 and hashlib.sha256(data).hexdigest() != sha256.lower():
            raise WeightsError(f"weights {self.path}: {field}: {name} does not have the sha256 of the description")
        return data

    def _read(self, name: str, most: int) -> bytes:
        member = self._members[name]
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise NotImplementedError("another compression")
        if member.file_size > most:
            raise WeightsError(f"weights {self.path}: {name} in it would grow to more than weights can: {most} bytes")
        return self._zipped.read(member)  # no more than its declared size, whatever is packed
