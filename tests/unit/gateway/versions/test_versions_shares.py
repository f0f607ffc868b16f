"""Who is given which version: by the weights, always the same, and as few as possible move when the weights change."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from weft.gateway.versions.numbers import fits, newest, order
from weft.gateway.versions.shares import chance, stable

USERS = [f"user-{number}" for number in range(20_000)]


def given(*weights: tuple[str, int]) -> list[str]:
    """The version of each user."""
    return [weights[stable(user, "talk", weights)][0] for user in USERS]


@pytest.mark.parametrize("weights", [(95, 5), (1, 1), (70, 20, 10)])
def test_shares_are_as_the_weights(weights: tuple[int, ...]) -> None:
    """Over many users each version has its share, within four standard deviations."""
    named = [(f"{index}.0.0", weight) for index, weight in enumerate(weights)]
    counts = Counter(given(*named))
    for version, weight in named:
        share = weight / sum(weights)
        deviation = (len(USERS) * share * (1 - share)) ** 0.5
        assert abs(counts[version] - len(USERS) * share) < 4 * deviation


def test_as_few_as_possible_move() -> None:
    """From 95:5 to 90:10 a twentieth moves, and all of them to the version that grew."""
    before, after = given(("1", 95), ("2", 5)), given(("1", 90), ("2", 10))
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert {*moved} == {("1", "2")}
    assert 0.04 < len(moved) / len(USERS) < 0.06


def test_a_new_version_takes_from_all() -> None:
    """Nobody moves between two versions that were there before."""
    before, after = given(("1", 50), ("2", 50)), given(("1", 50), ("2", 50), ("3", 50))
    assert {new for old, new in zip(before, after, strict=True) if old != new} == {"3"}


def test_the_order_of_the_file_does_not_count() -> None:
    """The same user gets the same version, wherever it is listed."""
    assert given(("1", 50), ("2", 50)) == given(("2", 50), ("1", 50))


def test_a_version_without_weight_is_nobodys() -> None:
    """It is had by name only."""
    assert set(given(("1", 1), ("2", 0))) == {"1"}
    assert {chance([("1", 1), ("2", 0)], random.Random(1)) for _ in range(100)} == {0}


def test_one_who_is_early_for_one_route_is_not_early_for_all() -> None:
    """Routes share out their users independently."""
    weights = [("1", 90), ("2", 10)]
    early = [{user for user in USERS if stable(user, route, weights) == 1} for route in ("a", "b")]
    assert len(early[0] & early[1]) / len(USERS) < 0.015


def test_versions_are_ordered_by_their_numbers() -> None:
    """As Semantic Versioning orders them."""
    ordered = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-rc.2", "1.0.0-rc.10", "1.0.0", "1.9.0", "1.10.0", "2"]
    assert sorted(random.Random(1).sample(ordered, len(ordered)), key=order) == ordered


def test_a_leading_part_fits_whole_numbers_only() -> None:
    """``1`` is no part of ``10.0.0``, and a text is no part of anything."""
    assert fits("1.2.0", "1")
    assert fits("1.2.0", "1.2.0")
    assert not fits("10.2.0", "1")
    assert not fits("1.2.0", "1.")
    assert not fits("1.2.0", "")
    assert newest(["1.9.0", "1.10.0"], "1") == "1.10.0"
    assert newest(["1.9.0"], "2") is None
