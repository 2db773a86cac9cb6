"""Random histories of a hub with three boards: `make soak-hub` runs thousands."""

import pytest

from .histories import run_histories

EACH, FIRST, ALL = 10, 20, 60  # the first ones are those of `make test-fast`


@pytest.mark.parametrize(
    "seed",
    [*range(0, FIRST, EACH), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(FIRST, ALL, EACH))],
)
def test_whatever_happens_boards_agree_in_the_end_and_erased_people_are_gone(hub, database, seed):
    run_histories(database, range(seed, seed + EACH))
