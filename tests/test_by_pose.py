from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thermvision_db
from thermvision.annotations.bootstrap import Bootstrap
from thermvision.curation.evaluation.by_pose import (
    LEAST,
    bins_of,
    landmark_curves,
    landmark_error_figure,
    write_plot,
)
from thermvision.curation.evaluation.measures import Options, TaskResult
from thermvision.curation.plots import plot_look

QUICK = Options(bootstrap=Bootstrap(20, 0))


def curves() -> dict[str, Any]:
    """Forty faces of four people: yaw 5, -15 and 80° (the last too few), pitch one bin, error a tenth of |yaw|."""
    yaw = np.array([5.0] * 18 + [-15.0] * 18 + [80.0] * 4)
    poses = np.stack([yaw, np.full(40, 3.0), np.zeros(40)], 1)
    nme = np.abs(yaw) / 1000
    return landmark_curves(poses, nme, 2 * nme, [f"P{n % 4}" for n in range(40)], QUICK)


def test_errors_are_told_by_bin() -> None:
    found = curves()
    yaw = found["yaw"]
    assert (yaw["bins"], yaw["count"]) == (["0–10", "10–20", "≥ 75"], [18, 18, 4])
    assert yaw["nme"]["value"][:2] == pytest.approx([0.005, 0.015])
    assert yaw["nme"]["value"][2] is None  # fewer than ten
    assert yaw["nme"]["baseline"][:2] == pytest.approx([0.01, 0.03])
    assert yaw["nme"]["interval"][0] == pytest.approx((0.005, 0.005))
    assert found["pitch"]["bins"] == ["0–10"]
    assert landmark_curves(np.full((3, 3), np.nan), np.ones(3), np.ones(3), list("abc"), QUICK) == {}
    assert LEAST == 10


def test_bins_have_names() -> None:
    names, member = bins_of(np.array([-50.0, -15, 5, np.nan, 40]), (-90, -20, -10, 0, 10, 20), True)
    assert names == ["< -20", "-20 to -10", "0–10", "≥ 20"]
    assert member.tolist() == [0, 1, 2, -1, 3]


def test_the_figure_shows_the_curve() -> None:
    with plot_look():
        figure = landmark_error_figure(curves())
    axes, empty = figure.axes
    assert not empty.get_visible()
    found, mean_shape = (line.get_ydata() for line in axes.lines)
    assert list(found) == pytest.approx([0.5, 1.5])
    assert list(mean_shape) == pytest.approx([1, 3])
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0–10\n18", "10–20\n18"]


def test_one_bin_is_no_plot(tmp_path: Path) -> None:
    assert write_plot({"landmarks": TaskResult(curves={"pitch": curves()["pitch"]})}, tmp_path) == []
    assert write_plot({"pose": TaskResult(curves=curves())}, tmp_path) == []
    results = {"robustness": TaskResult(curves=curves())}
    first, again = (write_plot(results, tmp_path / folder) for folder in "ab")
    ends = (".svg", ".png", "-dark.svg", "-dark.png")
    assert [p.name for p in first] == [f"landmark_error{end}" for end in ends]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]


def test_the_command_draws_it(oval_release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ["evaluate", str(oval_release), "--predictions", str(oval_release), "--task", "landmarks", "--split", "all"]
    assert thermvision_db.main([*told, "--rounds", "20", "--plots", str(tmp_path / "plots")]) == 0
    assert str(tmp_path / "plots" / "landmark_error-dark.png") in capsys.readouterr().out
    assert len(list((tmp_path / "plots").iterdir())) == 4
