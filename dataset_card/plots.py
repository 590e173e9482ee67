"""The plots of a card: what its frames show and its reports found, once on white and once on a dark ground."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from PIL import Image

from thermvision.curation.plots import plot_look
from thermvision.curation.store import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from thermvision.curation.statistics.collect import Statistics

Reports = Mapping[str, Sequence[Mapping[str, Any]]]  # kind to facts, as `read_reports` gives them
# the plots that a card shows, in this order, and their titles
SHOWN = {
    "coverage": "Head pose",
    "identities": "Identities by pose",
    "classes": "Expressions and attributes",
    "box_map": "Places of faces",
    "temperatures": "Temperatures by region",
    "spectrum": "Power spectrum",
    "recognition": "Who is recognised",
    "landmark_error": "Landmark error by pose",
    "growth": "Growth over versions",
}
INDEX = "figures.json"
FEWEST = 100  # frames below which a distribution is no more than its table
_SEEN = {  # condition of an audit -> what a recogniser sees
    "full": "the whole frame",
    "face": "the face alone",
    "masked": "the frame without the face",
    "box": "the frame without the face box",
    "silhouette": "the outline of the person",
    "background": "what lies outside it",
    "first": "the first frames of clips",
}
_MOST_INDEX = 2**20  # bytes of it that are read
_DPI, _COLOURS = 144, 128  # of PNG; text stays smooth, and the file is half as large


def write_plots(folder: Path, seen: Statistics | None, reports: Reports = MappingProxyType({})) -> list[dict[str, str]]:
    """Write ``NAME.png``, ``NAME-dark.png`` and ``figures.json``, which names them, and remove what is no longer shown.

    Args:
        folder: ``preview`` of a release.
        seen: its statistics; None: there are none.
        reports: what `read_reports` found in it.

    Returns:
        Name, title, file on white, file on dark and caption of each, as in ``figures.json``.

    Raises:
        OutputError: no room or no permission.
    """
    from thermvision.curation.statistics.figures import plots  # the explorer reads the index without all that draws

    drawn = {} if seen is None or int(seen.labels.frames.sum()) < FEWEST else {**plots(seen)}
    drawn |= dict(_of_reports(reports))
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


def _of_reports(reports: Reports) -> Iterator[tuple[str, tuple[str, Callable[[], Figure]]]]:
    """Plots of the facts of reports; of protocols those on most faces."""
    from thermvision.curation.audits.figures import RECOGNITION, recognition_figure
    from thermvision.curation.evaluation.by_pose import LEAST, landmark_error_figure
    from thermvision.curation.statistics.figures import spectrum_caption, spectrum_figure

    for facts in reports.get("statistics", ()):
        if rows := facts.get("spectra"):  # an older report has none
            yield "spectrum", (spectrum_caption(rows), partial(spectrum_figure, rows))
    for facts in reports.get("audit", ()):
        if facts["recognition"] and facts["chance"] is not None:
            recognition = {"best": facts["recognition"], "chance": facts["chance"]}
            seen = "; ".join(f"{c}: {_SEEN[c]}" for c in _SEEN if f"{c}, across" in facts["recognition"])
            yield (
                "recognition",
                (f"{RECOGNITION} What is seen: {seen}.", partial(recognition_figure, {"recognition": recognition})),
            )
    scored = [facts for facts in reports.get("protocols", ()) if facts.get("landmarks_by_pose")]
    if scored:
        facts = max(scored, key=_faces)
        caption = (
            "Error of landmarks over the box by yaw either way and by pitch, with its 95 % interval over people"
            f" ({facts['split']}), beside that of a mean shape; bins of fewer than {LEAST} faces are left out."
        )
        yield "landmark_error", (caption, partial(landmark_error_figure, facts["landmarks_by_pose"]))


def _faces(facts: Mapping[str, Any]) -> int:
    return max(sum(curve["count"]) for curve in facts["landmarks_by_pose"].values())


def read_plots(folder: Path) -> list[dict[str, Any]]:
    """What `write_plots` has written there, as far as its files are there; another hand's index counts for nothing.

    >>> read_plots(Path("nowhere"))
    []
    """
    try:
        with (folder / INDEX).open("rb") as file:
            found = json.loads(file.read(_MOST_INDEX))["figures"]
        return [f for f in found if _is_there(folder, f)]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []


def _is_there(folder: Path, figure: Mapping[str, Any]) -> bool:
    files = {"light": f"{figure['name']}.png", "dark": f"{figure['name']}-dark.png"}
    own = figure["name"] in SHOWN and all(figure[look] == name for look, name in files.items())
    told = all(isinstance(figure[key], str) for key in ("title", "caption"))
    return own and told and all((folder / name).is_file() for name in files.values())


def _png(figure: Figure) -> bytes:
    drawn, data = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=_DPI, metadata={"Software": None})
    picture = Image.open(drawn).convert("RGB")
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(data, "PNG", optimize=True)
    return data.getvalue()
