import json
import signal
import zipfile

import numpy as np
import pytest

from model.images.decoding import decode_image
from model.images.encoding import encode_png, to_probability_image
from model.segmenter import Segmenter
from model.weights_file import load_weights
from training import evaluate
from training.data.folder import load_samples
from training.data.labels.label_scheme import LabelScheme
from training.scoring.class_scores import Confusion
from training.scoring.distortions import DISTORTIONS
from training.scoring.evaluation import defined
from training.scoring.measures import Measures
from training.scoring.object_scores import labelled_objects
from training.scoring.prediction_scoring import evaluate_predictions
from training.scoring.rand import rand_and_information, segments


def v_rand(segmenter, sample, threshold):
    return rand_and_information(
        segments(segmenter.probabilities(sample.pixels)[0], threshold), labelled_objects(sample)
    )[0]


def test_json_is_the_scores_of_the_segmenters_probabilities(trained, cells_folder, capsys):
    weights = trained / "weights.safetensors"
    options = ["--weights", str(weights), "--data", str(cells_folder), "--json", "--select", "v_rand"]
    assert evaluate.main(options) == 0
    printed = capsys.readouterr()
    assert "scored by V_rand, because --select v_rand was given" in printed.err
    told = json.loads(printed.out)
    assert told["objective"] == "v_rand"
    segmenter, samples = Segmenter.load(weights), load_samples(cells_folder)
    expected = [v_rand(segmenter, sample, 0.3) for sample in samples]
    for sample, score in zip(samples, expected, strict=True):
        scores, found = told["images"][sample.name]["0.3"], segmenter.probabilities(sample.pixels)[0] >= np.float32(0.3)
        assert scores["v_rand"] == pytest.approx(score)
        overlap = np.count_nonzero(found & sample.foreground)
        assert scores["dice"] == pytest.approx(2 * overlap / (found.sum() + sample.foreground.sum()))
    assert told["all"]["0.3"]["v_rand"] == pytest.approx(sum(expected) / len(expected))
    low, high = told["plateau"]
    assert low <= told["best_threshold"] <= high


def test_tta_is_scored_as_it_is_served(trained, cells_folder, capsys):
    weights = trained / "weights.safetensors"
    options = ["--weights", str(weights), "--data", str(cells_folder), "--only", "1", "--json", "--select", "v_rand"]
    assert evaluate.main([*options, "--tta", "4"]) == 0
    told = json.loads(capsys.readouterr().out)["images"]["1"]["0.3"]
    [sample] = [sample for sample in load_samples(cells_folder) if sample.name == "1"]
    assert told["v_rand"] == pytest.approx(v_rand(Segmenter.load(weights, tta=4), sample, 0.3))


def test_table_and_sheet_of_chosen_images(trained, cells_folder, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    options = ["--weights", str(trained / "weights.safetensors"), "--only", "1", "4", "--sheet", str(sheet)]
    assert evaluate.main(["--data", str(cells_folder), *options]) == 0
    table = capsys.readouterr().out
    assert [line.split()[0] for line in table.splitlines()[1:4]] == ["1", "4", "all"]
    assert decode_image(sheet.read_bytes()).shape == (2 * (96 + 4), 3 * 96)


@pytest.mark.parametrize(
    "options", [["--weights", "/nonexistent"], ["--only", "nobody"], ["--sheet", f"{__file__}/a.png"]]
)
def test_bad_input_is_one_line_and_exit_code_2(trained, cells_folder, capsys, options):
    given = options if "--weights" in options else ["--weights", str(trained / "weights.safetensors"), *options]
    assert evaluate.main(["--data", str(cells_folder), *given]) == 2
    error = capsys.readouterr().err
    assert error.startswith("evaluate: ")
    assert error.count("\n") == 1


def test_ctrl_c_is_one_line(trained, cells_folder, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "evaluate_net", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    assert evaluate.main(["--data", str(cells_folder), "--weights", str(trained / "weights.safetensors")]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "evaluate: stopped, nothing is scored"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--probabilities", ".", "--tta", "4", "--engine", "torch"], "--engine and --tta: of use with weights"),
        (["--probabilities", ".", "--distorted"], "--distorted: of use with weights"),
        (["--sheet", "sheet.jpg"], "--sheet sheet.jpg: the name of a .png file is expected"),
    ],
)
def test_options_that_would_be_ignored_are_refused(cells_folder, capsys, options, said):
    with pytest.raises(SystemExit) as stopped:
        evaluate.main(["--data", str(cells_folder), *options])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_nothing_is_left_of_a_sheet_that_is_not_drawn(cells_folder, tmp_path):
    options = ["--weights", str(tmp_path / "nowhere"), "--sheet", str(tmp_path / "new" / "sheet.png")]
    assert evaluate.main(["--data", str(cells_folder), *options]) == 2
    assert not [*(tmp_path / "new").iterdir()]


def test_given_probabilities_are_scored_like_those_of_weights(trained, cells_folder, tmp_path, capsys):
    weights = trained / "weights.safetensors"
    for sample in load_samples(cells_folder):
        probabilities = Segmenter.load(weights).probabilities(sample.pixels)
        stem = sample.name if sample.name == "0" else f"{sample.name}_res"  # as model.predict calls it
        (tmp_path / f"{stem}.png").write_bytes(encode_png(to_probability_image(probabilities[0])))
    told = []
    for options in (["--weights", str(weights)], ["--probabilities", str(tmp_path)]):
        assert evaluate.main(["--data", str(cells_folder), "--json", *options]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0]["objective"] == told[1]["objective"]
    for threshold in ("0.3", "0.5"):
        for score in ("dice", "pixel_error"):
            assert told[0]["all"][threshold][score] == pytest.approx(told[1]["all"][threshold][score], abs=1e-3)


@pytest.mark.parametrize("wrong", ["missing", "size"])
def test_probabilities_that_do_not_fit_are_named(cells_folder, tmp_path, capsys, wrong):
    if wrong == "size":
        (tmp_path / "0.png").write_bytes(encode_png(np.zeros((4, 5), np.uint8)))
    assert evaluate.main(["--data", str(cells_folder), "--probabilities", str(tmp_path), "--only", "0"]) == 2
    assert ("0.png: (4, 5)" if wrong == "size" else "no pictures named 0.* or 0_res.*;") in capsys.readouterr().err


def test_distorted_images_are_scored_row_by_row(trained, cells_folder, capsys):
    options = ["--weights", str(trained / "weights.safetensors"), "--only", "0", "--distorted"]
    assert evaluate.main(["--data", str(cells_folder), *options]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row[:16].strip() for row in rows] == ["as they are", *DISTORTIONS]


def test_a_bioimageio_package_is_scored_and_left_unchanged(trained, cells_folder, tmp_path, capsys):
    package, plain = tmp_path / "cells.zip", trained / "weights.safetensors"
    with zipfile.ZipFile(package, "w") as zipped:
        zipped.write(plain, "weights.safetensors")
    before = package.read_bytes()
    for weights in (package, plain):
        assert evaluate.main(["--data", str(cells_folder), "--weights", str(weights)]) == 0
    scores = capsys.readouterr().out.splitlines()
    assert scores[: len(scores) // 2] == scores[len(scores) // 2 :]
    assert evaluate.main(["--data", str(cells_folder), "--weights", str(plain), "--calibrate", str(package)]) == 2
    assert "cells.zip: --calibrate writes to a .safetensors file" in capsys.readouterr().err
    assert package.read_bytes() == before


def write_probabilities(cells_folder, folder, draw):
    """Pictures of probabilities, one for each image, drawn from its foreground H x W bool."""
    folder.mkdir()
    for sample in load_samples(cells_folder):
        picture = encode_png(to_probability_image(draw(sample.foreground).astype(np.float32)))
        (folder / f"{sample.name}.png").write_bytes(picture)
    return str(folder)


def test_calibrating_on_results_that_ignore_the_image_stores_nothing(trained, cells_folder, tmp_path, capsys):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes((trained / "weights.safetensors").read_bytes())
    before = weights.read_bytes()
    drawn = write_probabilities(cells_folder, tmp_path / "white", np.ones_like)
    options = ["--probabilities", drawn, "--data", str(cells_folder), "--calibrate", str(weights)]
    assert evaluate.main(options) == 2
    assert "nothing is stored, because everything is taken for foreground in all 6 images" in capsys.readouterr().err
    assert weights.read_bytes() == before


def test_calibrating_stores_the_best_threshold_and_its_scores(trained, cells_folder, tmp_path, capsys):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes((trained / "weights.safetensors").read_bytes())
    before = load_weights(weights)
    drawn = write_probabilities(cells_folder, tmp_path / "fair", lambda label: np.where(label, 0.7, 0.2))
    link = tmp_path / "link.safetensors"
    link.symlink_to(weights)
    options = ["--probabilities", drawn, "--calibrate", str(link), "--json"]
    assert evaluate.main(["--data", str(cells_folder), *options]) == 0
    assert link.is_symlink()
    told, after = json.loads(capsys.readouterr().out), load_weights(weights)
    assert after.description.threshold == told["best_threshold"]
    stored = after.description.provenance["calibrated"]
    assert isinstance(stored, dict)
    assert stored["objective"] == told["objective"]
    assert stored["score"] == pytest.approx(1)
    assert stored["dice"] == pytest.approx(told["all"][f"{told['best_threshold']:g}"]["dice"])
    assert stored["images"] == 6
    assert after.description.provenance["reached"] == before.description.provenance["reached"]
    assert all((after.tensors[name] == tensor).all() for name, tensor in before.tensors.items())


@pytest.mark.parametrize(
    ("value", "said"), [(0, "no foreground"), (1, "everything is taken"), (np.nan, "not all finite: 0, 1")]
)
def test_predictions_that_are_plainly_wrong_are_failures(cells_folder, value, said):
    samples = load_samples(cells_folder)[:2]
    evaluation = evaluate_predictions(
        lambda sample: np.full(sample.label.shape, value, np.float32), 0.5, samples, Measures("dice")
    )
    assert said in evaluation.failures(0.5)[0]


THREE = ("background", "cell", "nucleus")


def test_evaluation_json_has_the_scores_of_each_class(trained_classes, classes_folder, capsys):
    weights = trained_classes / "weights.safetensors"
    assert evaluate.main(["--weights", str(weights), "--data", str(classes_folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    segmenter, total = Segmenter.load(weights), Confusion(np.zeros((3, 3), np.int64))
    for sample in load_samples(classes_folder, LabelScheme(classes=3)):
        confusion = Confusion.of(segmenter.mask(sample.pixels), sample.label, 3)
        assert told["images"][sample.name] == pytest.approx(defined(confusion.scores()))
        total += confusion
    assert told["all"] == pytest.approx(defined(total.scores()))
    assert told["objective"] == "mean_dice"
    assert told["all"].keys() >= {"mean_dice", "pixel_error", "dice_0", "iou_0", "dice_2", "iou_2"}


def test_class_tables_name_classes_and_sheets_show_them(trained_classes, classes_folder, tmp_path, capsys):
    given = [
        "--weights",
        str(trained_classes / "weights.safetensors"),
        "--data",
        str(classes_folder),
        "--only",
        "1",
        "3",
    ]
    assert evaluate.main([*given, "--sheet", str(tmp_path / "sheet.png")]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["image", "mean", "Dice", "pixel", "error", *THREE]
    assert [row.split()[0] for row in rows] == ["1", "3", "all", "class", *THREE]
    sheet = decode_image((tmp_path / "sheet.png").read_bytes())
    assert set(np.unique(sheet[:64, 64:])) >= {0, 127, 255}
    assert evaluate.main([*given, "--distorted"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row[:16].strip() for row in rows] == ["as they are", *DISTORTIONS]


def test_calibrating_several_classes_is_refused(trained_classes, trained, cells_folder, capsys):
    several, one = (str(folder / "weights.safetensors") for folder in (trained_classes, trained))
    assert evaluate.main(["--weights", one, "--calibrate", several, "--data", str(cells_folder)]) == 2
    assert "--calibrate is for nets of one class" in capsys.readouterr().err
