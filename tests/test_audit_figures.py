import math
from typing import Any

import numpy as np
import pytest

from thermvision.curation.audits.figures import coverage_figure, expressions_figure, plots, recognition_figure
from thermvision.curation.audits.parity import PITCH_BINS, YAW_BINS
from thermvision.curation.plots import plot_look, svg_text


def score(rank1: float, interval: list[float] | None, clips: float | None) -> dict[str, Any]:
    return {"rank1": rank1, "interval": interval, "clips": clips}


def facts() -> dict[str, Any]:
    women = np.zeros((len(YAW_BINS) - 1, len(PITCH_BINS) - 1), int)
    women[18, 12] = 7
    return {
        "recognition": {
            "chance": 0.02,
            "best": {
                "face, across": score(0.9, [0.8, 0.95], 1.0),
                "face, within": score(1.0, None, None),
                "background, across": score(0.05, None, None),
            },
        },
        "parity": {
            "coverage": {
                "yaw_edges": YAW_BINS.tolist(), "pitch_edges": PITCH_BINS.tolist(), "female": women.tolist(),
                "male": (2 * women).tolist(),
            },
            "expressions": {"female": {"neutral": 3, "smile": 1}, "male": {"neutral": 5, "smile": 0}},
        },
    }  # fmt: skip


def test_bars_are_the_scores_of_the_json() -> None:
    with plot_look(dark=True):
        axes = recognition_figure(facts()).axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["face", "background"]
    assert [p.get_height() for p in axes.patches] == pytest.approx([90, 5])
    assert [t.get_text() for t in axes.texts] == ["90.0", "5.0"]
    lines = {str(line.get_label()): line for line in axes.lines}
    clips = lines["clips alone"].get_ydata()
    assert clips[0] == 100
    assert math.isnan(clips[1])
    assert lines["3 × chance, 6.0 %: the most without a face"].get_ydata()[0] == pytest.approx(6)
    told = axes.containers[1].lines[2][0].get_segments()
    assert told[0][:, 1].tolist() == pytest.approx([80, 95])
    assert np.ptp(told[1][:, 1]) == 0  # no interval


def test_a_limit_that_everybody_keeps_is_no_line() -> None:
    few = facts()
    few["recognition"]["chance"] = 0.5
    with plot_look():
        assert not any("chance" in str(line.get_label()) for line in recognition_figure(few).axes[0].lines)


def test_coverage_and_expressions_are_those_of_the_json() -> None:
    told = facts()
    with plot_look():
        women, men = coverage_figure(told).axes[:2]
        shares = expressions_figure(told).axes[0]
    for axes, gender in ((women, "female"), (men, "male")):
        counts = np.ma.filled(axes.images[0].get_array(), 0)
        assert np.array_equal(counts.T, told["parity"]["coverage"][gender])
    assert women.get_title("left") == "female, 7 frames"
    assert [p.get_height() for p in shares.patches] == [75, 25, 100, 0]


def test_what_nobody_knows_is_left_out() -> None:
    told = facts()
    assert list(plots(told)) == ["recognition", "coverage", "expressions"]
    told["recognition"]["best"] = {}
    for gender in ("female", "male"):
        told["parity"]["coverage"][gender] = np.zeros((36, 24), int).tolist()
        told["parity"]["expressions"][gender] = {"neutral": 0}
    assert plots(told) == {}
    with plot_look():
        first, again = (svg_text(plots(facts())["recognition"][1]()) for _ in range(2))
    assert first == again
