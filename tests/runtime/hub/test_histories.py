"""Random histories of a hub with three boards: `make soak-hub` runs thousands."""

import pytest

from .histories import run_histories

EACH = 10


@pytest.mark.parametrize("seed", range(0, 60, EACH))
def test_whatever_happens_boards_agree_in_the_end_and_erased_people_are_gone(hub, database, seed):
    run_histories(database, range(seed, seed + EACH))
