import pytest
from prometheus_client import CollectorRegistry, Gauge

from app.capacity import FIRST_GUESS_S, LONGEST_S, STRETCH, QueueCapacity, QueueFull


@pytest.fixture
def gauge() -> Gauge:
    return Gauge("pixels", "Taken.", registry=CollectorRegistry())


def _taken(gauge: Gauge) -> float:
    ((sample,),) = (metric.samples for metric in gauge.collect())
    return sample.value


def _capacity(
    gauge: Gauge, max_pixels: int = 1000, max_wait_s: float = 4.0, pixels_per_s: float | None = None
) -> QueueCapacity:
    capacity = QueueCapacity(max_pixels, max_wait_s, gauge)
    if pixels_per_s:
        capacity.measured(pixels_per_s, "net")
    return capacity


def test_an_image_takes_room_while_it_is_decoded_and_gives_it_back(gauge: Gauge):
    capacity = _capacity(gauge, max_pixels=100)
    with capacity.reserved(60):
        assert _taken(gauge) == 60
        with pytest.raises(QueueFull), capacity.reserved(41):
            pytest.fail("let in")
        with capacity.reserved(40):
            assert _taken(gauge) == 100
            with pytest.raises(QueueFull):
                capacity.check()
    assert _taken(gauge) == 0
    with pytest.raises(ZeroDivisionError), capacity.reserved(100):
        raise ZeroDivisionError
    assert _taken(gauge) == 0


def test_a_batch_of_another_net_starts_a_new_average_of_the_speed(gauge: Gauge):
    def retry_after_s(*measured: tuple[float, str]) -> int:
        capacity = _capacity(gauge, max_pixels=100)
        for pixels_per_s, net in measured:
            capacity.measured(pixels_per_s, net)
        capacity.reserve(100)
        with pytest.raises(QueueFull) as caught:
            capacity.check()
        return caught.value.retry_after_s

    assert retry_after_s((10, "old"), (5, "new")) == 20
    assert retry_after_s((10, "old"), (5, "old")) == round(100 / 9.5)


def test_an_image_above_the_capacity_is_admitted_singly(gauge: Gauge):
    capacity = _capacity(gauge, max_pixels=100)
    reservation = capacity.reserve(500)
    with pytest.raises(QueueFull):
        capacity.reserve(1)
    reservation.release(499)
    capacity.reserve(99)
    reservation.release(1)
    assert _taken(gauge) == 99


def test_when_to_come_back_is_a_guess_then_measured_and_bounded(gauge: Gauge):
    def refused(pixels_per_s: float | None) -> int:
        capacity = _capacity(gauge, max_pixels=100, pixels_per_s=pixels_per_s)
        capacity.reserve(100)
        with pytest.raises(QueueFull) as caught:
            capacity.check()
        return caught.value.retry_after_s

    assert [refused(speed) for speed in (None, 10, 1000, 0.1)] == [FIRST_GUESS_S, 10, 1, LONGEST_S]


def test_the_queue_holds_the_pixels_computed_within_the_maximum_wait(gauge: Gauge):
    capacity = _capacity(gauge, max_pixels=10**9, max_wait_s=4.0, pixels_per_s=1000)
    for _ in range(40 + STRETCH + 1):  # each takes 0.1 s; it may wait for 4 s and three times as long as itself
        capacity.check()
        with capacity.reserved(100):
            pass
        capacity.reserve(100)
    with pytest.raises(QueueFull) as caught, capacity.reserved(100):
        pytest.fail("let in")
    assert caught.value.retry_after_s == 4
    with pytest.raises(QueueFull):
        capacity.check()


def test_a_small_image_does_not_wait_for_a_huge_one(gauge: Gauge):
    capacity = _capacity(gauge, max_pixels=10**9, pixels_per_s=1000)
    capacity.reserve(10**6)  # a thousand seconds of work, but it takes turns
    capacity.check()
    with capacity.reserved(100):
        pass


def test_a_huge_image_may_wait_as_long_as_befits_its_size(gauge: Gauge):
    capacity = _capacity(gauge, max_pixels=10**9, max_wait_s=4.0, pixels_per_s=1000)
    for _ in range(STRETCH):
        with capacity.reserved(10**6):
            pass
        capacity.reserve(10**6)
    capacity.reserve(10**4)
    with pytest.raises(QueueFull), capacity.reserved(10**6):
        pytest.fail("let in")
    with capacity.reserved(10**3):
        pass


def test_without_measurements_only_pixels_count(gauge: Gauge):
    capacity = _capacity(gauge, max_pixels=10**9, max_wait_s=0.001)
    for _ in range(100):
        capacity.reserve(1000)
    with capacity.reserved(1000):
        capacity.check()
