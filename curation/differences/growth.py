"""How a release grew over its versions, as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..plots import WIDE, legend_above, new_figure, series_colours, thousands

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = ("identities", "frames", "bytes")
_MOST_LABELS = 6  # versions that have their names below the bars


def growth_figure(versions: Sequence[Mapping[str, Any]]) -> Figure:
    """Identities, frames and megabytes after each version, what it wrote upon what is of those before.

    What a later version superseded counts for that one. A number that a version does not know has no panel.

    figure = growth_figure(facts_of(open_place(release))["versions"])

    Args:
        versions: what `history.versions_of` says, in order.
    """
    panels = [key for key in _PANELS if all(v.get(key) is not None for v in versions)]
    large = sum(v["bytes"] for v in versions) >= 10**10
    figure, axes = new_figure(len(panels), width=WIDE / max(len(panels), 2), height=2.5)
    names = [str(v["version"]) for v in versions]
    every = -(-len(names) // _MOST_LABELS)
    for place, key in zip(axes, panels, strict=True):
        title, scale = (key, 1.0) if key != "bytes" else ("size, GB", 1e-9) if large else ("size, MB", 1e-6)
        added = [scale * v[key] for v in versions]
        before = [sum(added[:n]) for n in range(len(added))]
        spots = range(len(names))
        place.bar(spots, before, 0.7, color=series_colours()[6], label="before")
        place.bar(spots, added, 0.7, bottom=before, color=series_colours()[0], label="added")
        place.set_xticks(list(spots)[::every], names[::every])
        room = 0.7 + max(3 - len(names), 0) / 2  # two bars are no wider than three
        place.set_xlim(-room, len(names) - 1 + room)
        place.set(title=title, xlabel="version")
        place.set_ylim(0, max(sum(added), 1e-9) * 1.12)
        if key != "bytes":
            thousands(place.yaxis)
    legend_above(figure, axes[:1])
    return figure
