import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from app.ray_serve.in_flight import InFlightLimit


def _run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(body, 60))


def test_pixels_within_the_limit_are_admitted_at_once():
    async def body() -> None:
        flight = InFlightLimit(10)
        await flight.take(4)
        await flight.take(6)
        assert flight.pixels == 10

    _run(body())


def test_the_rest_waits_in_turn_even_if_it_would_fit():
    async def body() -> None:
        flight, order = InFlightLimit(10), []

        async def take(name: str, pixels: int) -> None:
            await flight.take(pixels)
            order.append(name)

        await flight.take(8)
        waiting = [asyncio.create_task(take(name, pixels)) for name, pixels in [("large", 6), ("small", 1)]]
        await asyncio.sleep(0)
        assert order == []
        flight.release(8)
        await asyncio.gather(*waiting)
        assert order == ["large", "small"]
        assert flight.pixels == 7

    _run(body())


def test_pixels_above_the_limit_are_admitted_singly():
    async def body() -> None:
        flight = InFlightLimit(10)
        await flight.take(25)
        waiting = asyncio.create_task(flight.take(1))
        await asyncio.sleep(0)
        assert not waiting.done()
        flight.release(25)
        await waiting

    _run(body())


def test_a_higher_limit_lets_in_what_waits():
    async def body() -> None:
        flight = InFlightLimit(1)
        await flight.take(1)
        waiting = asyncio.create_task(flight.take(1))
        await asyncio.sleep(0)
        flight.set_limit(2)
        await waiting

    _run(body())


@pytest.mark.parametrize("admitted", [False, True], ids=["while waiting", "just as it is let in"])
def test_a_cancelled_request_releases_its_capacity(admitted: bool):
    async def body() -> None:
        flight = InFlightLimit(1)
        await flight.take(1)
        first, second = (asyncio.create_task(flight.take(1)) for _ in range(2))
        await asyncio.sleep(0)
        if admitted:
            flight.release(1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        if not admitted:
            flight.release(1)
        await second
        assert flight.pixels == 1

    _run(body())


def test_some_may_go_past_all_that_wait():
    flight = InFlightLimit(1)
    flight.take_at_once(5)
    assert flight.pixels == 5
    flight.release(5)
    assert flight.pixels == 0
