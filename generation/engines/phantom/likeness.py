"""How alike subjects are: the 68 rest landmarks of each, without building its head.

Landmarks are linear in the morph weights, so one basis (targets, 68, 3) replaces the mesh of 86,000 vertices: a subject
costs about a millisecond, and a release of thousands is compared in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from thermvision.generation.engines.phantom.assets import load_assets
from thermvision.generation.engines.phantom.identity import landmark_distance, shape_weights
from thermvision.generation.engines.phantom.layers import Floats
from thermvision.generation.engines.phantom.topology import load_topology
from thermvision.generation.specs import Subject

_METRES = 0.1  # a unit of the base mesh is a decimetre


@lru_cache(1)
def _basis() -> tuple[Floats, dict[str, Floats]]:
    """Landmarks (68, 3) of the unmorphed head, and what each target at weight one adds to them; metres."""
    assets, topology = load_assets(), load_topology()
    rows = topology.subdivision[topology.landmarks]
    place = np.full(len(assets.vertices), -1)
    used = topology.kept[np.unique(rows.indices)]
    place[used] = np.arange(len(used))
    rows = rows[:, np.unique(rows.indices)].toarray()
    moved = {}
    for name, (vertices, delta) in assets.targets.items():
        at = place[vertices]
        inside = at >= 0
        if inside.any():
            moved[name] = _METRES * np.einsum("kn,nc->kc", rows[:, at[inside]], delta[inside].astype(np.float64))
    return _METRES * np.einsum("kn,nc->kc", rows, assets.vertices[used]), moved


def rest_landmarks(subject: Subject) -> Floats:
    """(68, 3) iBUG points of the subject's head at rest, metres: those of `identity.make_head` to 1e-9 m.

    Raises:
        UsageError: the gender or a trait is not allowed.
        MissingDependencyError: the head data is not installed.
    """
    start, moved = _basis()
    points = start.copy()
    for name, weight in shape_weights(subject).items():
        if name in moved:
            points += weight * moved[name]
    return points


class Gallery:
    """The faces of subjects already met; asking for one twice costs nothing."""

    def __init__(self) -> None:
        self._faces: dict[tuple[int, int, str, str], Floats] = {}

    def face(self, subject: Subject) -> Floats:
        """`rest_landmarks`, remembered."""
        key = (subject.seed, subject.index, subject.gender, repr(sorted(subject.traits.items())))
        if key not in self._faces:
            self._faces[key] = rest_landmarks(subject)
        return self._faces[key]

    def nearest(self, subject: Subject, others: Sequence[Subject]) -> tuple[float, int]:
        """RMS landmark distance in metres to the most similar of ``others`` (at least one), and its place there."""
        distances = landmark_distance(self.face(subject), np.stack([self.face(other) for other in others]))
        place = int(distances.argmin())
        return float(distances[place]), place
