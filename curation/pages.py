"""HTML pages of reports: one look, one file each with its pictures inside, nothing from elsewhere."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import UsageError

from .plots import Plots, save_looks
from .store import writing

_TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, **values: Any) -> str:
    """The page of a template of this folder, which extends ``page.html.j2``; everything put in is escaped.

    Args:
        template: file name such as "check.html.j2".
        values: what the template names; ``title`` and ``subtitle`` always.

    Raises:
        jinja2.UndefinedError: the template names a value that is not given.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    rooms = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return rooms.get_template(template).render(**values) + "\n"


def report_folder(out: Path) -> Path:
    """The folder ``out`` of a report, tried before the long work that the report is of; it is not made yet.

    Raises:
        UsageError: it is a release.
        OutputError: no permission, or it is a file.
    """
    if (out / "release.json").exists():
        raise UsageError(f"--out {out} is a release; a report needs a folder of its own, such as {out}-report")
    with writing(out), tempfile.TemporaryFile(dir=next(p for p in (out, *out.parents) if p.exists())):
        return out


def picture_uri(picture: NDArray[np.uint8], widest: int = 320) -> str:
    """A picture as a ``data:`` address: (H, W) gray or (H, W, 3) RGB, made smaller where wider than ``widest`` pixels.

    >>> picture_uri(np.zeros((4, 4), np.uint8))[:22]
    'data:image/jpeg;base64'
    """
    height, width = picture.shape[:2]
    if width > widest:
        size = widest, max(1, round(height * widest / width))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    if picture.ndim == 3:
        picture = np.ascontiguousarray(picture[..., ::-1])
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def save_plots(plots: Plots, folder: Path) -> tuple[list[Path], list[dict[str, str]]]:
    """Write each of ``plots`` to ``folder`` as `plots.save_looks` does, for a page as well.

    Returns:
        The files, and what the macro of ``plot.html.j2`` shows of each plot: name, caption, and the addresses ``uri``
        and ``dark``.

    Raises:
        OutputError: no room or no permission.
    """
    written, shown = [], []
    for name, (caption, draw) in plots.items():
        files = save_looks(draw, folder / name)
        written += files
        light, dark = (plot_uri(f.read_text(encoding="utf-8")) for f in files if f.suffix == ".svg")
        shown.append({"name": name, "caption": caption, "uri": light, "dark": dark})
    return written, shown


def plot_uri(svg: str) -> str:
    """An SVG as a ``data:`` address, for the ``src`` of an ``img``."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
