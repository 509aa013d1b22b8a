import pytest

from app.ray_serve import build
from app.ray_serve.messages import weights_of


@pytest.mark.parametrize(
    ("user_config", "weights"),
    [({"weights": "a.xml"}, "a.xml"), ({"weights": None}, None), ({"weights": ""}, None), ({}, None)],
)
def test_a_user_config_names_the_weights(user_config: object, weights: str | None):
    assert weights_of(user_config) == weights


@pytest.mark.parametrize("user_config", [{"weigths": "a"}, {"weights": 1}, "a.xml", None])
def test_anything_else_is_told(user_config: object):
    with pytest.raises(ValueError, match=r"^user_config: "):
        weights_of(user_config)


def test_arguments_of_the_application_are_told():
    with pytest.raises(ValueError, match=r"^args: width: none are expected"):
        build({"width": "64"})
