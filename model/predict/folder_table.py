"""One table of the objects in many images, joined from the tables of each."""

import csv
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path

from model.atomic_write import write_whole

NAME = "objects.csv"


def join_tables(tables: Mapping[Path, Path], out: Path) -> int:
    """Writes `NAME` into a folder and returns the number of its rows.

    The columns are those of all tables, after a column `file` with the image. A row has nothing in the columns that its
    image's table lacks, such as micrometres or intensities of a channel.

    Args:
        tables: Each image with its table; tables that do not exist are left out.
        out: The folder.

    Raises:
        OSError: A table cannot be read, or the folder cannot be written to.
        UnicodeDecodeError, csv.Error: A file is not such a table.
    """
    there = {image: table for image, table in tables.items() if table.is_file()}
    columns = dict.fromkeys(name for table in there.values() for name in _columns(table))
    written = StringIO()
    writer = csv.DictWriter(written, ["file", *columns], restval="")
    writer.writeheader()
    count = 0
    for image, table in there.items():
        for row in _rows(table):
            writer.writerow({"file": str(image), **row})
            count += 1
    write_whole(out / NAME, written.getvalue().encode())
    return count


def _columns(table: Path) -> list[str]:
    with table.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])


def _rows(table: Path) -> Iterator[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)
