import cv2
import numpy as np
from skimage.measure import label as connected_components

from training import synthetic
from training.data.folder import load_samples
from training.data.labels.label_scheme import LabelScheme
from training.synthetic import cells, draw


def test_the_command_writes_data_that_training_reads(cells_folder):
    samples = load_samples(cells_folder)
    assert len(samples) == 6
    assert samples[0].pixels.shape == (96, 96)


def test_images_show_several_cells_brighter_than_their_membranes():
    image, label = cells(256, np.random.default_rng(0))
    assert connected_components(label, connectivity=1).max() > 8
    assert 0.6 < label.mean() < 0.95
    assert image[label].mean() > image[~label].mean() + 30


def test_synthetic_images_depend_only_on_the_seed():
    one, same, other = (cells(64, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


def test_synthetic_classes_are_membranes_cells_and_bright_nuclei():
    image, label = draw(256, np.random.default_rng(0), classes=3)
    _, interior = cells(256, np.random.default_rng(0))
    assert ((label > 0) == interior).all()
    membranes, cytoplasm, nuclei = (image[label == index] for index in range(3))
    assert min(len(membranes), len(cytoplasm), len(nuclei)) > 0.1 * image.size
    assert membranes.mean() + 30 < cytoplasm.mean() < nuclei.mean() - 30
    touching = cv2.dilate((label == 2).view(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert not (touching & (label == 0)).any()


def test_the_command_says_how_to_train_on_classes(tmp_path, capsys):
    assert synthetic.main(["--out", str(tmp_path / "x"), "--count", "1", "--size", "64", "--classes", "3"]) == 0
    assert "--classes 3 --labels background cell nucleus" in capsys.readouterr().out
    (sample,) = load_samples(tmp_path / "x", LabelScheme(classes=3))
    assert set(np.unique(sample.label)) == {0, 1, 2}


def test_nothing_is_overwritten(cells_folder, capsys):
    assert synthetic.main(["--out", str(cells_folder), "--count", "1"]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err


def test_a_refused_volume_leaves_no_files(tmp_path, capsys):
    out = tmp_path / "x"
    for option in (["--count", "0"], ["--size", "31"], ["--seed", "-1"]):
        assert synthetic.main(["--out", str(out), *option]) == 2
        assert option[0] in capsys.readouterr().err
    assert not out.exists()
    (out / "label").mkdir(parents=True)
    assert synthetic.main(["--out", str(out)]) == 2
    assert [path.name for path in out.iterdir()] == ["label"]
