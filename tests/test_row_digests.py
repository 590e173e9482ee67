import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermvision.curation.differences.row_digests import digest

numbers = st.none() | st.integers(-(2**31), 2**31 - 1)
nested = st.lists(st.none() | st.lists(numbers, max_size=4), max_size=5)
texts = st.none() | st.text(max_size=5)
KINDS = {
    "lists": (nested, pa.list_(pa.list_(pa.int64()))),
    "texts": (texts, pa.string()),
    "bytes": (st.none() | st.binary(max_size=5), pa.binary()),
    "pairs": (
        st.none() | st.fixed_dictionaries({"a": texts, "b": nested}),
        pa.struct({"a": pa.string(), "b": pa.list_(pa.list_(pa.int64()))}),
    ),
    "floats": (st.none() | st.floats(width=32), pa.float32()),
    "fixed": (st.none() | st.lists(numbers, min_size=2, max_size=2), pa.list_(pa.int64(), 2)),
}


def plain(value):
    """Equal exactly when the value is the same: NaN is NaN, and 0.0 is not -0.0."""
    return repr([value[k] for k in sorted(value)] if isinstance(value, dict) else value)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(data=st.data())
def test_digests_are_equal_exactly_where_values_are(kind, data):
    strategy, arrow = KINDS[kind]
    rows = data.draw(st.lists(strategy, min_size=1, max_size=8))
    array = pa.array(rows, arrow)
    alone = [digest(pa.array([row], arrow)) for row in rows]
    assert [digest(array.slice(n, 1)) for n in range(len(rows))] == alone
    for n, one in enumerate(alone):
        for m, other in enumerate(alone):
            assert (one == other) == (plain(rows[n]) == plain(rows[m]))
    start = data.draw(st.integers(0, len(rows)))
    assert digest(array.slice(start)) == digest(pa.array(rows[start:], arrow))


def test_integers_of_any_width_and_nan_are_themselves():
    assert digest(pa.array([1, None], pa.int32())) == digest(pa.array([1, None], pa.int64()))
    assert digest(pa.array([True])) == digest(pa.array([1]))
    assert digest(pa.array([np.nan])) == digest(pa.array([np.nan]))
    assert digest(pa.array(["a", "b"], pa.large_string())) == digest(pa.array(["a", "b"]))
    assert digest(pa.array(["a", "b"]).dictionary_encode()) == digest(pa.array(["a", "b"]))


def test_the_parts_of_a_text_do_not_run_together():
    assert digest(pa.array(["ab", "c"])) != digest(pa.array(["a", "bc"]))
    assert digest(pa.array([["a"], ["b"]])) != digest(pa.array([["a", "b"], []]))
    assert digest(pa.array([None, ""])) != digest(pa.array(["", None]))
    assert digest(pa.array([0, None])) != digest(pa.array([None, 0]))
