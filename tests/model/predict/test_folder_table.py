import csv
from pathlib import Path

import pytest

from model.predict.folder_table import join_tables


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_name_their_image_and_lack_the_columns_of_others(tmp_path: Path):
    (tmp_path / "a_res.csv").write_text("label,area_px\n1,20\n2,30\n")
    (tmp_path / "b_res.csv").write_text("label,area_px,area_um2\n1,40,10\n")
    tables = {Path("in/a.png"): tmp_path / "a_res.csv", Path("in/b.tif"): tmp_path / "b_res.csv"}
    assert join_tables(tables, tmp_path) == 3
    assert rows_of(tmp_path / "objects.csv") == [
        {"file": "in/a.png", "label": "1", "area_px": "20", "area_um2": ""},
        {"file": "in/a.png", "label": "2", "area_px": "30", "area_um2": ""},
        {"file": "in/b.tif", "label": "1", "area_px": "40", "area_um2": "10"},
    ]


def test_images_without_a_table_are_left_out(tmp_path: Path):
    assert join_tables({Path("a.png"): tmp_path / "a_res.csv"}, tmp_path) == 0
    assert (tmp_path / "objects.csv").read_text().strip() == "file"


def test_a_table_that_is_not_text_is_an_error(tmp_path: Path):
    (tmp_path / "a_res.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="decode"):
        join_tables({Path("a.png"): tmp_path / "a_res.csv"}, tmp_path)
    assert not (tmp_path / "objects.csv").exists()
