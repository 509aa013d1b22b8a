"""The short form of each attack."""

from importlib import import_module

import pytest

from tests.torture.__main__ import ATTACKS


@pytest.mark.parametrize("name", ATTACKS)
def test_the_product_survives_a_short_attack(name: str):
    module = import_module(f"tests.torture.{name}")
    verdict = module.attack(module.SHORT)
    assert verdict.passed, f"{verdict.done}: {verdict.found}"
