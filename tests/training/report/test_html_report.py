"""The report of a training: one page that stands alone, and says what the folder says."""

import base64
import json
import re
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from model.images.decoding import decode_image
from model.inputs.preprocessing import Preprocessing
from model.segmenter import Segmenter
from model.unet import UNetConfig
from model.weights_file import Description
from training import synthetic
from training.data.folder import Sample, load_samples
from training.data.labels.label_scheme import LabelScheme
from training.data_error import DataError
from training.loop.run_folder import RunFolder, read_history
from training.report import html_report as report
from training.report.charts import draw_charts
from training.report.findings import Facts, find_warnings
from training.report.html_report import duration, render, write_report
from training.report.pictures import (
    WRONG_BACKGROUND,
    WRONG_FOREGROUND,
    class_colour,
    draw_class_pictures,
    draw_pictures,
    shrunk,
    stretched,
)
from training.run import command as run
from training.scoring.class_evaluation import ClassEvaluation
from training.scoring.class_scores import Confusion
from training.scoring.evaluation import Evaluation, ImageScores
from training.scoring.measures import BOUNDED, Measures, Structure
from training.scoring.pixel_scores import FINE, PixelCounts
from training.scoring.prediction_scoring import evaluate, evaluate_classes
from training.scoring.rand import THRESHOLDS
from training.scoring.tally import Plateau

NASTY = "<script>alert('&')</script>\""


class Page(HTMLParser):
    """The page's tags with their attributes, and its text without style sheets."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(re.sub("<style>.*?</style>", "", html, flags=re.DOTALL))
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def history(steps: int = 5, **columns: float) -> list[dict[str, float]]:
    """A history of checks at 10, 20, ...; the loss falls, `columns` stay."""
    return [
        {"step": 10.0 * n, "loss": 1 / n, "learning_rate": 1e-3, "seconds": 2.0 * n} | columns
        for n in range(1, steps + 1)
    ]


def evaluation(*v_rands: float, best: float = 0.5) -> Evaluation:
    """Images named a, b, ... with a V_rand each, lower by 0.1 at all thresholds but the best; Dice is 0.9."""
    thresholds = sorted({*FINE, *THRESHOLDS})
    hits, false_alarms = np.full(len(thresholds), 900), np.full(len(thresholds), 100)
    counts = PixelCounts(tuple(thresholds), hits, false_alarms, foreground=1000, background=1000)
    structures = [{t: Structure(v - (0 if t == best else 0.1), 0.8) for t in THRESHOLDS} for v in v_rands]
    images = {name: ImageScores(counts, 10.0, each) for name, each in zip("abcdefghij", structures, strict=False)}
    return Evaluation(Measures("v_rand", segments=True, matches=False), images, Plateau(best, best), 0.3)


def facts(**changed) -> Facts:
    description = Description(
        name="cells", architecture=UNetConfig(), preprocessing=Preprocessing(), labels={0: "membrane", 255: "cell"}
    )
    given = Facts(
        config={"seed": 7, "recipe": {"name": "default", "net": {"width": 4}}, "validation_images": ["a", "b", "c"]},
        history=history(),
        description=description,
        weights=Path("runs/my first/weights.safetensors"),
        kept=30,
        steps=50,
        evaluation=evaluation(0.9, 0.7, 0.8),
    )
    return replace(given, **changed)


@pytest.fixture
def folder(trained, tmp_path) -> RunFolder:
    """A copy of the short training's folder."""
    shutil.copytree(trained, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def test_the_report_of_a_training_has_the_numbers_of_evaluate(folder, cells_folder):
    samples = load_samples(cells_folder)[-3:]
    segmenter = Segmenter.load(folder.weights)
    threshold = segmenter.description.threshold
    expected = evaluate(segmenter, samples, Measures.suited_to(samples, "dice"), effort=BOUNDED)

    page = Page(write_report(folder, samples, segmenter).read_text())

    assert f"{expected.scores(threshold)['dice']:.4f} on 3 held-out images" in page.text
    assert f"step {segmenter.description.provenance['reached']['step']} of 4" in page.text  # type: ignore[index, call-overload]  # JSON
    for at in THRESHOLDS:
        assert f"{expected.scores(at)['dice']:.4f}" in page.text
    for name in expected.images:
        assert f"{name}{expected.image_scores(name, threshold)['dice']:.4f}" in page.text
    assert json.loads((folder.path / "config.json").read_text())["command"] in page.text
    assert f"SEGMENT_WEIGHTS={folder.weights} python -m app" in page.text


def test_the_page_needs_nothing_from_outside(folder, cells_folder):
    page = Page(write_report(folder, load_samples(cells_folder)[-1:]).read_text())
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert name not in ("srcset", "action", "background", "poster")
            assert not name.startswith("on")
            assert name not in ("src", "href", "xlink:href") or (value or "").startswith(("data:", "#")), (tag, value)
            assert "url(" not in (value or "") or "url(#" in (value or "")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert "@import" not in folder.report.read_text()


def test_pictures_decode_and_have_alternative_texts(folder, cells_folder):
    page = Page(write_report(folder, load_samples(cells_folder)[-2:]).read_text())
    pictures = page.all("img")
    assert len(pictures) == 2 * 4
    for attributes in pictures:
        kind, _, data = (attributes["src"] or "").partition(",")
        assert kind == "data:image/png;base64"
        assert decode_image(base64.b64decode(data)).shape[:2] == (96, 96)
        assert attributes["alt"]


def test_names_are_escaped_wherever_they_come_from():
    shown = Sample(NASTY, np.zeros((20, 30), np.uint8), np.ones((20, 30), np.uint8))
    scores = evaluation(0.9)
    nasty = facts(
        evaluation=replace(scores, images={NASTY: scores.images["a"]}),
        config={"command": NASTY, "training_images": [NASTY], "recipe": {NASTY: NASTY}},
    )
    pictures = draw_pictures(shown, np.ones((20, 30), np.float32), 0.5)
    html = render(nasty, [report.Shown(1, NASTY, scores.image_scores("a", 0.5), pictures)])
    page = Page(html)
    assert "<script" not in html
    assert page.text.count(NASTY) >= 5
    assert page.all("img")[0]["alt"] == f"{NASTY}: the image, contrast stretched"


def test_worst_image_first_and_both_ends_have_pictures(cells_folder, folder):
    samples = load_samples(cells_folder)
    segmenter = Segmenter.load(folder.weights)
    evaluated = evaluate(segmenter, samples, Measures("dice", matches=False))
    scored = facts(evaluation=evaluated, description=segmenter.description)
    dice = [scores["dice"] for _, scores in evaluated.ranked(segmenter.description.threshold)]
    assert dice == sorted(dice)
    shown = report.show_extremes(scored, samples, segmenter)
    assert [entry.rank for entry in shown] == [1, 2, 5, 6]
    assert [entry.name for entry in shown] == [scored.ranked[rank - 1][0] for rank in (1, 2, 5, 6)]
    html = render(scored, shown)
    assert "place 5 of 6" in html
    assert "The worst and the best held-out images" in html


def test_without_held_out_images_it_says_that_nothing_was_measured(folder):
    page = Page(write_report(folder, []).read_text())
    assert "Trained, but not measured" in page.text
    assert "nothing was measured" in page.text
    assert page.all("img") == []
    assert "Image by image" not in page.text


def test_good_results_cause_no_warning():
    assert find_warnings(facts()) == []
    assert Page(render(facts(), [])).all("ul") == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"evaluation": None}, "No images were held out"),
        ({"steps": 90}, "stopped, its last check was at step 50 of 90: The same command with --resume"),
        ({"kept": 10}, "best weights are those of the first check, step 10 of 50"),
        ({"evaluation": evaluation(0.3, 0.3, 0.3)}, "V_rand 0.300 is not better than that of a mask"),
        ({"history": history()[::-1]}, "loss did not fall"),
        ({"evaluation": evaluation(0.9)}, "Only 1 image was held out"),
        ({"evaluation": evaluation(0.9, 0.9)}, "Only 2 images were held out"),
        ({"evaluation": evaluation(0.9, 0.9, 0.9, best=0.3)}, "higher by 0.100 than at the stored threshold 0.5"),
    ],
)
def test_warnings(changed, said):
    assert said in " ".join(find_warnings(facts(**changed)))


def test_a_stored_threshold_at_the_edge_is_warned_of():
    at_the_edge = facts().description.model_copy(update={"threshold": 0.1})
    found = find_warnings(facts(description=at_the_edge, evaluation=evaluation(0.9, 0.9, 0.9, best=0.1)))
    assert "The threshold 0.1 is at the edge" in " ".join(found)


def test_a_result_no_better_than_a_constant_mask_is_not_praised():
    page = Page(render(facts(evaluation=evaluation(0.31, 0.3, 0.29)), []))
    headline = page.text.index("Do not use these weights yet")
    finding = page.text.index("V_rand 0.300 is not better than that of a mask that is all foreground, 0.300.")
    assert headline < finding < page.text.index("V_rand is 0.3000 on 3 held-out images")


def test_a_good_result_is_the_headline():
    text = Page(render(facts(), [])).text
    assert "V_rand 0.8000 on 3 held-out images" in text
    assert "Do not use" not in text


@pytest.mark.parametrize(("seconds", "said"), [(7.6, "8 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations_in_words(seconds, said):
    assert duration(seconds) == said


def test_the_serving_command_quotes_the_path():
    assert "SEGMENT_WEIGHTS='runs/my first/weights.safetensors' python -m app" in Page(render(facts(), [])).text


@pytest.mark.parametrize("steps", [1, 5, 100])
def test_charts_are_svg_in_the_pages_colours_with_the_kept_step(steps):
    scores = {"v_rand": 0.9, "v_info": 0.8, "dice": 0.7, "iou": 0.6}
    charts = draw_charts(history(steps, **scores), kept=10)
    assert len(charts) == 4
    for chart in charts:
        root = ET.fromstring(chart.svg)  # noqa: S314 - drawn a line above
        texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        assert "kept: step 10" in texts
        assert "currentColor" in chart.svg
        assert "var(--line-1)" in chart.svg
        assert "#000000" not in chart.svg
    assert "loss 1 at first" in charts[0].words
    assert len(draw_charts(history(steps), kept=10)) == 2, "no scores, no charts of them"


@pytest.mark.parametrize("shape", [(40, 60), (600, 300), (300, 1100, 3), (30, 50, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_of_any_image_keep_proportions_and_fill_the_contrast(shape, dtype):
    pixels = np.random.default_rng(0).integers(50, 90, shape).astype(dtype)
    picture = stretched(shrunk(pixels))
    height, width = picture.shape[:2]
    assert picture.dtype == np.uint8
    assert max(height, width) == min(512, max(shape[:2]))
    assert width / height == pytest.approx(shape[1] / shape[0], rel=0.02)
    assert picture.ndim == (2 if len(shape) == 2 else 3)
    assert picture.shape[2:] in ((), (3,))
    assert (picture.min(), picture.max()) == (0, 255)


def test_errors_are_coloured_and_everything_right_is_grey():
    label = np.zeros((10, 30), np.uint8)
    label[:, :20] = 1
    probabilities = np.zeros((10, 30), np.float32)
    probabilities[:, 10:] = 0.7
    pictures = draw_pictures(Sample("x", np.full((10, 30, 3), 80, np.uint8), label), probabilities, 0.5)
    errors = decode_image(base64.b64decode(pictures.errors.partition(",")[2]))
    assert errors.shape == (10, 30, 3)
    assert (errors[:, :10] == WRONG_BACKGROUND).all()
    assert (errors[:, 20:] == WRONG_FOREGROUND).all()
    assert (errors[:, 10:20] == errors[:, 10:20, :1]).all()


def test_one_pixel_lines_stay_visible_in_reduced_pictures():
    label = np.ones((1536, 1536), np.uint8)
    probabilities = np.ones((1536, 1536), np.float32)
    probabilities[700] = 0
    pictures = draw_pictures(Sample("x", np.zeros((1536, 1536), np.uint8), label), probabilities, 0.5)
    errors = decode_image(base64.b64decode(pictures.errors.partition(",")[2]))
    assert (errors[700 // 3] == WRONG_BACKGROUND).all()


def test_the_command_writes_it_again(folder, cells_folder, capsys):
    assert report.main(["--out", str(folder.path), "--data", str(cells_folder)]) == 0
    assert "on 1 held-out image" in Page(folder.report.read_text()).text
    assert str(folder.report) in capsys.readouterr().out


def test_the_command_reads_labels_as_the_training_did(cells_folder, tmp_path):
    options = ["--data", str(cells_folder), "--out", str(tmp_path), "--label-format", "inverted", "--steps", "2"]
    assert run.main([*options, "--width", "4", "--batch", "2", "--workers", "0"]) == 0
    before = (tmp_path / "report.html").read_text()
    assert report.main(["--out", str(tmp_path), "--data", str(cells_folder)]) == 0
    assert (tmp_path / "report.html").read_text() == before


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda run: shutil.rmtree(run), "no folder"),
        (lambda run: (run / "config.json").unlink(), "config.json: missing or broken"),
        (lambda run: (run / "history.csv").write_text("step,loss\n4,\n"), "history.csv: missing or broken"),
        (lambda run: (run / "history.csv").write_text("step,loss\n"), "first check"),
        (lambda run: (run / "weights.safetensors").unlink(), "weights.safetensors: no such file"),
    ],
)
def test_a_folder_that_lacks_something_is_one_line_and_exit_code_2(folder, cells_folder, capsys, spoil, said):
    spoil(folder.path)
    assert report.main(["--out", str(folder.path), "--data", str(cells_folder)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("report: ")
    assert error.count("\n") == 1


def test_data_without_the_held_out_images_is_refused(folder, write_pair, tmp_path, capsys):
    write_pair(tmp_path / "other", "9", np.zeros((32, 32), np.uint8), np.eye(32, dtype=np.uint8))
    assert report.main(["--out", str(folder.path), "--data", str(tmp_path / "other")]) == 2
    assert "lacks held-out images of this training: 5" in capsys.readouterr().err


def test_other_images_of_the_same_names_are_refused(trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "run")
    before = (tmp_path / "run/report.html").read_bytes()
    assert synthetic.main(["--out", str(tmp_path / "other"), "--count", "6", "--size", "96", "--seed", "1"]) == 0
    assert report.main(["--out", str(tmp_path / "run"), "--data", str(tmp_path / "other")]) == 2
    assert "are not those of this training" in capsys.readouterr().err
    assert (tmp_path / "run/report.html").read_bytes() == before


def test_without_data_it_is_that_of_the_training(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run/report.html").unlink()
    assert report.main(["--out", str(tmp_path / "run")]) == 0
    pages = [Page((folder / "report.html").read_text()) for folder in (trained, tmp_path / "run")]
    first, again = (page.text.partition(" held-out image")[0] for page in pages)
    assert again == first
    assert "Dice" in again


def test_an_earlier_report_is_put_aside_with_its_training(folder):
    folder.report.write_text("old")
    RunFolder(folder.path).begin()
    assert (folder.path / "earlier/1/report.html").read_text() == "old"


def test_a_last_line_that_was_cut_off_does_not_count(tmp_path):
    (tmp_path / "history.csv").write_text("step,loss\n1,0.5\n2,0.3\n3,0.")
    assert [row["loss"] for row in read_history(tmp_path / "history.csv")] == [0.5, 0.3]


def test_no_history_is_an_error_of_the_data(tmp_path):
    with pytest.raises(DataError, match=r"history\.csv"):
        read_history(tmp_path / "history.csv")


def test_the_class_report_shows_scores_and_colours_of_each_class(trained_classes, classes_folder, tmp_path):
    shutil.copytree(trained_classes, tmp_path / "run")
    assert report.main(["--out", str(tmp_path / "run"), "--data", str(classes_folder)]) == 0
    page = Page((tmp_path / "run/report.html").read_text())
    segmenter = Segmenter.load(tmp_path / "run/weights.safetensors", engine="torch")
    total = evaluate_classes(segmenter, load_samples(classes_folder, LabelScheme(classes=3))[-2:]).total
    assert f"Mean Dice is {total.mean_dice:.4f} on 2 held-out images" in page.text
    for index, name in enumerate(("background", "cell", "nucleus")):
        assert f"{name}{total.dice(index):.4f}{total.iou(index):.4f}" in page.text
        assert f"{name} (higher is better)" in page.text
    assert "0 = background, 1 = cell, 2 = nucleus" in page.text
    assert "V_rand" not in page.text.partition("How it was made")[0]
    assert "hreshold" not in page.text.partition("How it was made")[0]
    assert len(page.all("img")) == 2 * 4


def test_a_report_of_classes_without_held_out_images_says_unmeasured(trained_classes, tmp_path):
    shutil.copytree(trained_classes, tmp_path / "run")
    page = Page(write_report(RunFolder(tmp_path / "run"), []).read_text())
    assert "Trained, but not measured" in page.text
    assert "A pixel becomes its most probable class" in page.text


def test_class_pictures_colour_classes_and_mark_only_errors():
    label = np.repeat(np.arange(3, dtype=np.uint8), 10)[None] * np.ones((10, 1), np.uint8)
    found = np.where(label == 2, 1, label).astype(np.uint8)
    pictures = draw_class_pictures(Sample("x", np.full((10, 30), 80, np.uint8), label), found)
    drawn, errors = (decode_image(base64.b64decode(uri.partition(",")[2])) for uri in (pictures.label, pictures.errors))
    for index in range(3):
        assert (drawn[label == index] == class_colour(index)).all()
    assert class_colour(0) == (0, 0, 0)
    assert (errors[:, 20:] == WRONG_FOREGROUND).all()
    assert (errors[:, :20] == errors[:, :20, :1]).all()


def test_a_class_that_no_held_out_label_has_is_warned_of():
    description = facts().description.model_copy(update={"labels": {0: "background", 1: "cell", 2: "nucleus"}})
    label = np.repeat(np.array([[0, 1]], np.uint8), 50, axis=1)
    confusion = Confusion.of(label, label, 3)
    told = find_warnings(facts(description=description, evaluation=ClassEvaluation(dict.fromkeys("abc", confusion))))
    assert told == ["No held-out label has any nucleus: how well that is found is unknown."]
