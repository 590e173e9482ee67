from collections import Counter

import pytest

from thermvision.annotations.schema import GENDERS
from thermvision.curation.splits import split_of


@pytest.mark.parametrize("gender", GENDERS)
@pytest.mark.parametrize("block", [0, 1, 7])
def test_every_block_of_ten_is_dealt_seven_one_two(gender, block):
    dealt = Counter(split_of(gender, block * 10 + k) for k in range(10))
    assert dealt == {"train": 7, "validation": 1, "test": 2}


def test_the_deal_never_changes():
    # published identities keep their split for ever: these are the first ten of each gender
    short = {"train": "r", "validation": "v", "test": "t"}
    assert "".join(short[split_of("female", k)] for k in range(10)) == "rtrrrrtrvr"
    assert "".join(short[split_of("male", k)] for k in range(10)) == "rvtrrrrtrr"
