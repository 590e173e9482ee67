"""One writer a folder, also where the lock is let go at this moment, and where there are no locks."""

import errno
import fcntl

import pytest

from thermvision.annotations.errors import OutputError
from thermvision.curation import assembly


def test_a_lock_that_was_just_taken_away_is_none(tmp_path, monkeypatch):
    """Between our opening and our locking of the file its holder ends, and takes it away."""
    real, ended = fcntl.flock, []

    def slow(file, how):
        if not ended:
            ended.append(file)
            (tmp_path / ".lock").unlink()
        return real(file, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    with (
        assembly.locked(tmp_path),
        pytest.raises(OutputError, match="another command is writing to"),
        assembly.locked(tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_told_and_written_to(tmp_path, monkeypatch, capsys):
    def refuse(file, how):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with assembly.locked(tmp_path):
        assert "has no locks; see that no other command writes there" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
