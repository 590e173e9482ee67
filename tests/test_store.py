import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermvision.annotations.errors import DamagedInputError, OutputError
from thermvision.curation import store

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_canonical_json_does_not_depend_on_key_order(value):
    def turned(v):
        if isinstance(v, dict):
            return {k: turned(v[k]) for k in reversed(list(v))}
        return [turned(x) for x in v] if isinstance(v, list) else v

    assert store.canonical_json(turned(value)) == store.canonical_json(value)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.bin"
    store.atomic_write(path, b"old")

    def fail_half_way():
        with store.atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES])
def test_a_full_disk_is_one_clear_error(tmp_path, code):
    with pytest.raises(OutputError, match="run the same command again") as caught, store.atomic_path(tmp_path / "a"):
        raise OSError(code, os.strerror(code))
    assert caught.value.exit_code == 6
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("below", ["a", "a/b"])
def test_a_folder_that_is_a_file_is_one_clear_error(tmp_path, below):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OutputError, match="a part of its path is a file; choose another place"):
        store.atomic_write(tmp_path / "file" / below, b"x")
    assert (tmp_path / "file").read_text() == "kept"


def test_other_system_errors_keep_their_type(tmp_path):
    with pytest.raises(IsADirectoryError), store.atomic_path(tmp_path / "a"):
        raise IsADirectoryError(errno.EISDIR, "x")


def test_a_write_into_a_really_full_disk(tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.fail("/dev/full is part of every Linux system")
    with (
        pytest.raises(OutputError, match="disk is full"),
        store.writing(tmp_path),
        full.open("wb", buffering=0) as file,
    ):
        file.write(b"x")


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    """On a disk that machines share, processes of equal number write at once."""
    with store.atomic_path(tmp_path / "a") as first, store.atomic_path(tmp_path / "a") as second:
        assert first != second
        first.write_bytes(b"1")
        second.write_bytes(b"2")
        assert {p.name for p in (first, second)} == {p.name for p in tmp_path.glob(".a.*.partial")}
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    keep = tmp_path / "data" / "a.parquet"
    left = tmp_path / "data" / ".a.parquet.123.partial"
    keep.parent.mkdir()
    keep.write_bytes(b"1")
    left.write_bytes(b"1")
    assert store.remove_partial(tmp_path) == [left]
    assert keep.exists()
    assert not left.exists()


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\udcff"])
def test_json_that_cannot_be_read_says_so(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DamagedInputError, match="readable JSON"):
        store.read_json(path)
