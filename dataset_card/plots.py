"""The plots of a card: what its frames show, drawn in the look of `stats`, once on white and once on a dark ground."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from thermvision.curation.plots import plot_look
from thermvision.curation.statistics.figures import plots
from thermvision.curation.store import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from thermvision.curation.statistics.collect import Statistics

# the plots of `stats` that a card shows, in this order, and their titles
SHOWN = {
    "coverage": "Head pose",
    "identities": "Identities by pose",
    "classes": "Expressions and attributes",
    "box_map": "Places of faces",
    "temperatures": "Temperatures by region",
    "growth": "Growth over versions",
}
INDEX = "figures.json"
FEWEST = 100  # frames below which a distribution is no more than its table
_DPI, _COLOURS = 144, 128  # of PNG; text stays smooth, and the file is half as large


def write_plots(folder: Path, seen: Statistics | None) -> list[dict[str, str]]:
    """Write ``NAME.png``, ``NAME-dark.png`` and ``figures.json``, which names them, and remove what is no longer shown.

    Args:
        folder: ``preview`` of a release.
        seen: its statistics; None: there are none.

    Returns:
        Name, title, file on white, file on dark and caption of each, as in ``figures.json``.

    Raises:
        OutputError: no room or no permission.
    """
    drawn = {} if seen is None or int(seen.labels.frames.sum()) < FEWEST else plots(seen)
    shown = []
    for name, title in SHOWN.items():
        files = {"light": f"{name}.png", "dark": f"{name}-dark.png"}
        if name in drawn:
            caption, draw = drawn[name]
            for look, file in files.items():
                with plot_look(look == "dark"):
                    atomic_write(folder / file, _png(draw()))
            shown.append({"name": name, "title": title, **files, "caption": caption})
        else:
            for file in files.values():
                (folder / file).unlink(missing_ok=True)  # of an earlier version
    if shown:
        atomic_write(folder / INDEX, json.dumps({"figures": shown}, indent=1, ensure_ascii=False) + "\n")
    else:
        (folder / INDEX).unlink(missing_ok=True)
    return shown


def read_plots(folder: Path) -> list[dict[str, Any]]:
    """What `write_plots` has written there, as far as its files are there.

    >>> read_plots(Path("nowhere"))
    []
    """
    try:
        found: list[dict[str, Any]] = json.loads((folder / INDEX).read_text(encoding="utf-8"))["figures"]
        return [f for f in found if (folder / f["light"]).is_file() and (folder / f["dark"]).is_file()]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _png(figure: Figure) -> bytes:
    drawn, data = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=_DPI, metadata={"Software": None})
    picture = Image.open(drawn).convert("RGB")
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(data, "PNG", optimize=True)
    return data.getvalue()
