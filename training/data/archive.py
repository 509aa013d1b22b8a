"""Data in ZIP files: unpacked into a temporary folder, within limits.

Every file is decoded once, at the start of a command, so the folder is removed before the first step.
"""

import lzma
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from training.data_error import DataError

# A ZIP with more files, or with more bytes when unpacked, is refused before anything is written.
MOST_FILES = 1_000_000
MOST_BYTES = 256 * 2**30

# Files that macOS adds.
_FOREIGN = "__MACOSX"

_CHUNK = 2**20


@contextmanager
def data_folder(path: Path) -> Iterator[Path]:
    """Yields a folder as it is, or the files of a ZIP in a temporary folder.

    Raises:
        DataError: The path is neither, or the ZIP is damaged, encrypted, too large, or has names that lead outside.
            Messages of errors within the block name the ZIP instead of the temporary folder.
    """
    if not path.is_file():  # a folder that is missing has a message of its own
        yield path
        return
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: a folder or a ZIP file is expected")
    with tempfile.TemporaryDirectory(prefix="training-data-") as temporary:
        _unpack(path, Path(temporary))
        try:
            yield Path(temporary)
        except DataError as error:
            raise DataError(str(error).replace(temporary, str(path))) from error


def _unpack(path: Path, folder: Path) -> None:
    """Raises DataError."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            members = [member for member in members if PurePosixPath(member.filename).parts[:1] != (_FOREIGN,)]
            _check_size(path, members, folder)
            for member in members:
                _write(archive, member, folder / _safe_name(path, member))
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError) as error:
        # RuntimeError: encrypted; NotImplementedError: a compression that Python lacks
        raise DataError(f"{path}: the ZIP file is damaged, encrypted, or compressed in an unknown way") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be unpacked in {folder.parent} ({error.strerror or error})") from error


def _check_size(path: Path, members: list[zipfile.ZipInfo], folder: Path) -> None:
    """Raises DataError."""
    size = sum(member.file_size for member in members)
    if len(members) > MOST_FILES or size > MOST_BYTES:
        raise DataError(
            f"{path}: {len(members)} files of {size} bytes; at most {MOST_FILES} files and {MOST_BYTES} bytes are read"
        )
    if size > (free := shutil.disk_usage(folder).free):
        raise DataError(
            f"{path}: its files take {size / 2**30:.1f} GiB, and {folder.parent} has {free / 2**30:.1f} GiB left; "
            "free some disk space, or set TMPDIR to another disk"
        )


def _safe_name(path: Path, member: zipfile.ZipInfo) -> PurePosixPath:
    """Returns a name below the folder. Raises DataError for a name that leads outside, and for a link."""
    name = PurePosixPath(member.filename)
    unsafe = not name.parts or name.is_absolute() or ".." in name.parts or any(sign in str(name) for sign in "\\:")
    if unsafe or stat.S_ISLNK(member.external_attr >> 16):
        raise DataError(f"{path}: {member.filename!a} is a link or leads outside the ZIP file; pack the files again")
    return name


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    """Writes a member, at most as many bytes as it declares. Raises OSError, BadZipFile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as packed, path.open("xb") as file:
        shutil.copyfileobj(packed, file, _CHUNK)
