from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError

from thermvision.curation.pages import picture_uri, plot_uri, render_page
from thermvision.curation.plots import COLOURS, new_figure, plot_look, save_plot, svg_text


def bars(dark: bool = False) -> str:
    with plot_look(dark):
        figure, axes = new_figure(2)
        axes[1].bar(["a", "b"], [1, 2])
        return svg_text(figure)


def test_equal_plots_are_equal_bytes() -> None:
    assert bars() == bars()
    assert COLOURS[0] in bars()
    assert "#14171b" in bars(dark=True)


def test_a_plot_is_written_twice(tmp_path: Path) -> None:
    with plot_look():
        figure, _ = new_figure()
        written = save_plot(figure, tmp_path / "bars")
    assert [p.name for p in written] == ["bars.svg", "bars.png"]
    assert written[1].read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 2


def test_pages_escape_what_they_show() -> None:
    page = render_page("page.html.j2", title="<b>", subtitle="a & b")
    assert "&lt;b&gt;" in page
    assert "a &amp; b" in page
    with pytest.raises(UndefinedError):
        render_page("page.html.j2", title="no subtitle")


def test_pictures_are_made_small() -> None:
    wide, small = np.zeros((600, 900), np.uint8), np.zeros((60, 90, 3), np.uint8)
    wide[:] = np.random.default_rng(0).integers(0, 255, wide.shape)
    assert len(picture_uri(wide, 100)) < len(picture_uri(wide, 400))
    assert picture_uri(small).startswith("data:image/jpeg")
    assert plot_uri("<svg/>").startswith("data:image/svg+xml")
