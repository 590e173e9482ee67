from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jinja2 import UndefinedError
from matplotlib import rcParams
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from thermvision.curation.pages import picture_uri, plot_uri, render_page
from thermvision.curation.plots import (
    COLOURS,
    heat_colours,
    legend_above,
    new_figure,
    plot_look,
    save_looks,
    save_plot,
    series_colours,
    svg_text,
)


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


def test_a_plot_is_written_in_both_looks(tmp_path: Path) -> None:
    def draw() -> Figure:
        figure, (axes,) = new_figure()
        axes.bar(["a", "b"], [1, 2], color=series_colours()[0], label="c")
        legend_above(figure, [axes])
        return figure

    first, again = (save_looks(draw, tmp_path / name / "bars") for name in "ab")
    assert [p.name for p in first] == ["bars.svg", "bars.png", "bars-dark.svg", "bars-dark.png"]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    assert COLOURS[0] in first[0].read_text()
    assert COLOURS[0] not in first[2].read_text()
    assert "#14171b" in first[2].read_text()


@pytest.mark.parametrize("dark", [False, True])
def test_colours_are_told_from_the_ground(dark: bool) -> None:
    def luminance(colour: Any) -> float:  # of sRGB, WCAG 2.1
        c = np.array(to_rgb(colour))
        return float(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722))

    def contrast(one: Any, other: Any) -> float:
        high, low = sorted((luminance(one), luminance(other)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    with plot_look(dark):
        ground, ink = rcParams["figure.facecolor"], rcParams["text.color"]
        heat, series = heat_colours(), series_colours()
    assert contrast(ink, ground) > 12
    # what is drawn next to each other, WCAG asks 3; pastel ones come last and stand for little
    assert min(contrast(c, ground) for c in series[:3]) > (6.5 if dark else 3)
    shades = [luminance(heat(k)) for k in range(0, 256, 15)]
    assert shades == sorted(shades, reverse=not dark)
    assert contrast(heat(255), ground) > 12
    assert heat(np.ma.masked)[3] == 0


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
