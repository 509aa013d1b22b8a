"""Scores as sums, plateaus of thresholds and margins."""

import math

import numpy as np
import pytest

from training.scoring.selection import DEGENERATE, Peak, Verdict
from training.scoring.tally import LARGEST_ERROR, NEAR_TIE, Plateau, Tally, find_plateau

TENTHS = [t / 10 for t in range(1, 10)]


def curve(*scores: float) -> Tally:
    """A score at each threshold, the same in four images."""
    return Tally(np.repeat(np.array(scores)[:, None, None], 4, axis=1), np.ones((len(scores), 4, 1)))


def verdict(*scores: float) -> Verdict:
    """A score for each image."""
    tally = Tally(np.array(scores)[:, None], np.ones((len(scores), 1)))
    return Verdict(float(tally.value), tally)


def test_a_pooled_score_is_a_ratio_of_sums():
    tally = Tally(np.array([[2.0], [90.0]]), np.array([[4.0], [100.0]]))
    assert tally.value == pytest.approx(92 / 104)
    assert tally.per_image == pytest.approx([0.5, 0.9])


def test_images_that_a_part_does_not_count_are_left_out():
    assert Tally(np.array([[0.8], [0.0]]), np.array([[1.0], [0.0]])).value == pytest.approx(0.8)
    assert math.isnan(Tally(np.zeros((2, 1)), np.zeros((2, 1))).value)


def test_the_error_of_a_difference_of_means_is_the_paired_one():
    first, second = np.array([0.9, 0.7, 0.8, 0.6]), np.array([0.8, 0.65, 0.75, 0.4])
    tallies = [Tally(scores[:, None], np.ones((4, 1))) for scores in (first, second)]
    expected = (first - second).std(ddof=1) / 2
    assert tallies[0].error_of_difference(tallies[1]) == pytest.approx(expected)


def test_margins_have_a_floor_and_a_ceiling():
    even, odd = (Tally(np.array(scores)[:, None], np.ones((2, 1))) for scores in ([0.5, 0.5], [0.0, 1.0]))
    assert even.margin(even) == NEAR_TIE
    assert even.margin(odd) == LARGEST_ERROR


def test_the_threshold_is_the_middle_of_the_plateau_and_not_the_peak():
    scores = curve(0.1, 0.2, 0.900, 0.898, 0.897, 0.896, 0.896, 0.3, 0.2)
    assert find_plateau(TENTHS, scores, np.zeros(9, np.bool_)) == Plateau(0.3, 0.7)
    assert Plateau(0.3, 0.7).threshold == 0.5


def test_a_plateau_ends_where_the_score_falls_though_it_rises_again():
    scores = curve(0.9, 0.9, 0.1, 0.2, 0.95, 0.949, 0.1, 0.95, 0.1)
    assert find_plateau(TENTHS, scores, np.zeros(9, np.bool_)) == Plateau(0.5, 0.6)


def test_degenerate_thresholds_are_never_chosen_beside_others():
    degenerate = np.array([True] * 8 + [False])
    assert find_plateau(TENTHS, curve(*[1.0] * 8, 0.2), degenerate) == Plateau(0.9, 0.9)


def test_without_any_score_all_thresholds_are_equal():
    assert find_plateau(TENTHS, curve(*[math.nan] * 9), np.zeros(9, np.bool_)).threshold == 0.5


def test_later_weights_win_near_ties():
    peak = Peak.of(verdict(0.8, 0.9, 0.7, 0.8))
    assert peak.is_equalled_by(verdict(0.797, 0.897, 0.697, 0.797), is_last=False)
    assert not peak.is_equalled_by(verdict(0.79, 0.89, 0.69, 0.79), is_last=False)


def test_the_last_weights_win_unless_earlier_ones_are_clearly_better():
    peak = Peak.of(verdict(0.8, 0.9, 0.7, 0.8))
    assert peak.is_equalled_by(verdict(0.792, 0.892, 0.692, 0.792), is_last=True)
    assert not peak.is_equalled_by(verdict(0.78, 0.88, 0.68, 0.78), is_last=True)


def test_a_slow_decline_is_not_followed():
    peak, kept = Peak(), []
    for score in np.linspace(0.9, 0.86, 11):
        check = verdict(*[score] * 4)
        kept.append(peak.is_equalled_by(check, is_last=False))
        peak = Peak.of(check) if check.rank > peak.rank else peak
    assert kept == [True, True] + [False] * 9


def test_degenerate_weights_are_replaced_by_any_others():
    degenerate = Verdict(DEGENERATE)
    assert Peak().is_equalled_by(degenerate, is_last=False)
    assert Peak.of(degenerate).is_equalled_by(degenerate, is_last=False)
    assert Peak.of(degenerate).is_equalled_by(verdict(0.01, 0.0), is_last=False)
    assert not Peak.of(verdict(0.01, 0.0)).is_equalled_by(degenerate, is_last=True)


def test_a_peak_survives_a_checkpoint():
    peak = Peak.of(verdict(0.8, 0.9, 0.7, 0.8))
    assert Peak(**vars(peak)) == peak


@pytest.mark.parametrize(
    ("low", "high", "threshold"),
    [(0.3, 0.7, 0.5), (0.3, 0.52, 0.455), (0.2, 0.3, 0.28), (0.6, 0.9, 0.68), (0.4, 0.4, 0.4), (0.1, 0.9, 0.5)],
)
def test_with_a_prior_the_threshold_lies_halfway_towards_it(low, high, threshold):
    plateau = Plateau(low, high, prior=0.5)
    assert plateau.threshold == pytest.approx(threshold, abs=0.0051)
    assert low <= plateau.threshold <= high
    assert Plateau(low, high).threshold == pytest.approx((low + high) / 2, abs=0.0051)
