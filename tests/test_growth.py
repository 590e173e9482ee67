from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thermvision.curation.differences.growth import growth_figure
from thermvision.curation.plots import plot_look, save_looks

VERSIONS: list[dict[str, Any]] = [
    {"version": "1.0", "identities": 3, "frames": 100, "bytes": 2_000_000},
    {"version": "1.1", "identities": 0, "frames": 50, "bytes": 1_000_000},
    {"version": "1.2", "identities": 2, "frames": 20_000, "bytes": 500_000},
]


def bars(axes: Any) -> tuple[list[float], list[float]]:
    before, added = axes.containers
    return [b.get_height() for b in before], [b.get_height() for b in added]


def test_bars_are_what_was_there_and_what_was_added(tmp_path: Path) -> None:
    with plot_look():
        identities, frames, size = growth_figure(VERSIONS).axes
    assert bars(identities) == ([0, 3, 3], [3, 0, 2])
    assert bars(frames) == ([0, 100, 150], [100, 50, 20_000])
    assert np.array(bars(size)) == pytest.approx(np.array([[0, 2, 3], [2, 1, 0.5]]))
    assert [t.get_text() for t in frames.get_xticklabels()] == ["1.0", "1.1", "1.2"]
    assert size.get_title("left") == "size, MB"
    first, again = (save_looks(lambda: growth_figure(VERSIONS), tmp_path / f / "growth") for f in "ab")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]


def test_what_is_not_known_has_no_bars_and_large_is_told_in_gigabytes() -> None:
    large = [{**v, "identities": None, "bytes": 10**10} for v in VERSIONS]
    with plot_look():
        frames, size = growth_figure(large).axes
    assert (frames.get_title("left"), size.get_title("left")) == ("frames", "size, GB")
    assert bars(size)[1] == pytest.approx([10, 10, 10])


def test_of_many_versions_some_are_named() -> None:
    many = [{**VERSIONS[0], "version": f"1.{n}"} for n in range(40)]
    with plot_look():
        axes = growth_figure(many).axes[0]
    named = [t.get_text() for t in axes.get_xticklabels()]
    assert len(named) <= 6
    assert named[:2] == ["1.0", "1.7"]
