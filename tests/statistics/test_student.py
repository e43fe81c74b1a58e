"""Student's t against printed tables, and against each other far out."""

import pytest

from flowtracer.statistics.student import student_p, student_quantile


@pytest.mark.parametrize(
    ("probability", "freedom", "expected"),
    [
        (0.5, 3, 0.0),
        (0.9, 3, 1.6377),
        (0.975, 1, 12.7062),
        (0.975, 2, 4.3027),
        (0.975, 7, 2.3646),
        (0.975, 9, 2.2622),
        (0.975, 200, 1.9719),
        (0.995, 4, 4.6041),
        (0.9995, 30, 3.6460),
    ],
)
def test_quantiles_and_p_are_those_of_printed_tables(probability, freedom, expected):
    assert student_quantile(probability, freedom) == pytest.approx(expected, abs=1e-4)
    for t in (expected, -expected):
        assert student_p(t, freedom) == pytest.approx(2 * (1 - probability), rel=1e-3)


@pytest.mark.parametrize("freedom", [1, 2, 7, 47])
@pytest.mark.parametrize("tail", [1e-3, 1e-6, 1e-9])
def test_the_quantile_of_a_small_tail_has_that_tail(tail, freedom):
    assert student_p(student_quantile(1 - tail, freedom), freedom) == pytest.approx(
        2 * tail, rel=1e-3
    )


def test_two_degrees_of_freedom_have_a_closed_form():
    for probability in (0.6, 0.99, 0.999999):
        share = 2 * probability - 1
        expected = (2 * share**2 / (1 - share**2)) ** 0.5
        assert student_quantile(probability, 2) == pytest.approx(expected, rel=1e-4)
