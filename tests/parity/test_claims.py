"""The short form of every part's claims; tools/parity prints them, and runs the long form."""

import math

import pytest

from claims import PARTS, Claim, Largest, Unavailable, claims_of, is_written
from run_claims import arguments_of


@pytest.mark.parametrize("part", [part for part in PARTS if is_written(part)], ids=lambda part: PARTS[part][0])
def test_part_holds(part):
    try:
        claims = claims_of(part, short=True)
    except Unavailable as missing:
        pytest.skip(str(missing))
    assert claims
    assert [str(claim) for claim in claims if not claim.holds] == []


@pytest.mark.parametrize("largest, tolerance, cases, holds", [
    (0.5, 0.5, 1, True), (0.0, 0.0, 3, True), (0.6, 0.5, 1, False), (math.nan, 0.5, 1, False), (0.0, 0.5, 0, False)])
def test_claim_holds_within_its_tolerance_and_with_cases(largest, tolerance, cases, holds):
    assert Claim(1, "something", largest, tolerance, cases).holds == holds


def test_largest_keeps_a_nan():
    gathered = Largest()
    for value in (0.5, math.nan, 2.0):
        gathered.add(value)
    assert math.isnan(gathered.value) and gathered.cases == 3


def test_unequal_pairs_are_counted():
    gathered = Largest()
    gathered.count_unequal([1, 2, 3], [1, 5, 4])
    assert gathered.value == 2 and gathered.cases == 3


def test_without_a_part_all_are_run():
    assert arguments_of([]).parts == list(PARTS)
    assert arguments_of(["7", "--full"]).parts == [7]
    with pytest.raises(SystemExit):
        arguments_of(["10"])
