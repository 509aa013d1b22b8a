import json

from tests.support.image_files import EXACT, GREY, LOSSY, WITHOUT_RANGE, tiff
from tests.torture import public_files


def test_files_of_a_folder_are_answered_and_equal_the_reference(tmp_path, capsys):
    (tmp_path / "files/lab").mkdir(parents=True)
    given = {name: data for name, (data, _) in (EXACT | LOSSY | WITHOUT_RANGE).items()}
    del given["tiff palette of 8 bits"]  # Pillow takes its colours for black
    for index, (name, data) in enumerate(given.items()):
        suffix = {"tiff": "tif", "jpeg": "jpg"}.get(name.split()[0], name.split()[0])
        (tmp_path / f"files/lab/{index}.{suffix}").write_bytes(data)
    (tmp_path / "files/lab/complex.tif").write_bytes(tiff(GREY.astype("complex64")))
    report = tmp_path / "report.jsonl"
    assert public_files.main([str(tmp_path / "files"), "--report", str(report)]) == 0
    cells = [cell.strip() for cell in capsys.readouterr().out.splitlines()[2].split("|")]
    assert cells[1:7] == ["lab", str(len(given) + 1), str(len(given)), "0", "1", "0"]
    [odd] = map(json.loads, report.read_text().splitlines())
    assert (odd["path"], odd["status"]) == ("lab/complex.tif", 415)


def test_a_picture_that_differs_from_the_reference_is_found(tmp_path, capsys, monkeypatch):
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/grey.tif").write_bytes(tiff(GREY))
    monkeypatch.setattr(public_files, "_reference", lambda _: [255 - GREY])
    assert public_files.main([str(tmp_path)]) == 1
    assert "1 of 1" in capsys.readouterr().out
