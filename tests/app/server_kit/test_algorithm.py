import pytest

from app.server_kit.algorithm import OUTPUT_NAMES, info_page, parameter_names, parameters_schema, shown_threshold
from model.inputs.preprocessing import Preprocessing
from model.unet import UNetConfig
from model.weights_file import Description


def _description(classes: int = 1, threshold: float = 0.4567, **texts: object) -> Description:
    fields = {"name": "net", "architecture": UNetConfig(width=4, depth=1, classes=classes), "threshold": threshold}
    return Description.model_validate({**fields, "preprocessing": Preprocessing(), **texts})


def test_fields_show_the_stored_values_first():
    schemas = parameters_schema(_description(min_area=7))["properties"]
    assert {name: schema.get("default") for name, schema in schemas.items()} == {
        "image": None,
        "output": "mask",
        "threshold": 0.46,
        "min_area": 7,
        "channel": "",
    }
    assert schemas["output"]["enum"] == list(OUTPUT_NAMES)


def test_a_net_of_several_classes_has_classes_and_no_threshold():
    description = _description(classes=3)
    assert parameter_names(description) == ["image", "output", "min_area", "channel", "class_index"]
    assert parameters_schema(description)["properties"]["class_index"]["max"] == 2


@pytest.mark.parametrize(("stored", "shown"), [(0.001, 0.01), (0.5, 0.5), (0.994, 0.99), (0.9999, 0.99)])
def test_the_shown_threshold_is_one_that_can_be_sent_back(stored: float, shown: float):
    assert shown_threshold(_description(threshold=stored)) == shown


def test_the_page_lists_parameters_and_escapes_names():
    page = info_page(_description(labels={0: "background", 1: "<b>cells</b>"}))
    assert "&lt;b&gt;cells" in page
    assert "background" not in page
    assert all(f"<code>{name}</code>" in page for name in parameter_names(_description()))
