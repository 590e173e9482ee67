"""One head in front of one camera: what stays the same over an item is prepared once, then each frame is rendered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom import raster
from thermvision.generation.engines.phantom.appearance import Appearance
from thermvision.generation.engines.phantom.expression import deform
from thermvision.generation.engines.phantom.landmarks import CHIN, LandmarkVisibility, View, outline_landmarks
from thermvision.generation.engines.phantom.layers import Floats, Head, Layer, Strands
from thermvision.generation.engines.phantom.neck import NeckPose, bend, facing, make_neck, neck_pose, seen_pose
from thermvision.generation.engines.phantom.raster import (
    Visibility,
    clear_visibility,
    draw_strands,
    draw_triangles,
    empty_visibility,
)
from thermvision.generation.engines.phantom.shading import SKIN_EMISSIVITY, integrate

SAMPLES = 3  # per pixel along each axis
_FINE_WINDOW = 150  # pixels from which on every hair is drawn
# metres: how far cloth reaches over skin, how deep under its edge skin still shows, over which length above the edge
# skin comes free, and how far cloth lies off the skin
_COLLAR_REACH, _COLLAR_OVERLAP, _COLLAR_FADE, _CLOTH_GAP = 0.08, 0.015, 0.07, 0.012
_JAW_FADE = 0.005, 0.045  # metres below the chin between which a collar takes hold
_NAPE_FADE, _NAPE_RISE = (0.005, 0.035), 0.05  # metres behind the pivot where the nape begins; how much higher it is
_COLLAR_GIVE = 0.35  # of the neck's rotation that a collar follows
_CLOTH = SEGMENTS.index("cloth")
_HIDDEN = -0.02  # metres of cut below which a triangle is never seen


def _ease(t: Floats) -> Floats:
    eased: Floats = t * t * (3 - 2 * t)
    return eased


@dataclass(frozen=True, eq=False)
class Observation:
    """One rendered frame before the detector, on the pixel grid of the sensor window (h, h).

    Attributes:
        radiance: (h, h) float64, W / (m² sr).
        temperature: (h, h) float32, °C of the objects themselves, mean over the pixel.
        segment: (h, h) uint8, index into `SEGMENTS`, at the pixel centre.
        depth: (h, h) float32, metres along the optical axis, 0 for background.
        surface: (n, 3) posed head vertices, metres, world axes.
        landmarks_3d: (68, 3) anatomical points, posed, world axes.
        landmarks: (68, 2) window coordinates, with the jaw of the visible outline.
        landmark_state: (68,) uint8.
        head_pose: (3,) yaw, pitch, roll in degrees against the camera.
        skin: (n,) °C of every head vertex in this frame.
        seen: the samples' visibility, valid until the scene renders its next frame.
    """

    radiance: NDArray[np.float64]
    temperature: NDArray[np.float32]
    segment: NDArray[np.uint8]
    depth: NDArray[np.float32]
    surface: Floats
    landmarks_3d: Floats
    landmarks: Floats
    landmark_state: NDArray[np.uint8]
    head_pose: Floats
    skin: Floats
    seen: Visibility


@dataclass(frozen=True, eq=False)
class _Hair:
    """Strands ready to be drawn: points (N * K, 3), bend weights (N * K,), °C (N, K), half widths (N,) in samples."""

    points: NDArray[np.float32]
    weights: NDArray[np.float32]
    temperature: NDArray[np.float32]
    half_width: NDArray[np.float32]
    label: int


class Scene:
    """A dressed head, a view and an air temperature.

    Args:
        head: the identity.
        appearance: skin, hair, clothes and accessories.
        view: the camera.
        ambient: air temperature, °C.
        skin_emissivity: of skin, seen straight on.
    """

    def __init__(
        self,
        head: Head,
        appearance: Appearance,
        view: View,
        ambient: float,
        skin_emissivity: float = SKIN_EMISSIVITY,
    ) -> None:
        self.head, self.appearance, self.view, self.ambient = head, appearance, view, ambient
        self.neck = make_neck(head)
        topology = head.topology
        n = len(topology.canonical)
        self._background = appearance.background((view.window, view.window))
        self._skin_weights = self.neck.weights(head.rest)
        self._skin_cut = np.ones(n)
        self._layer_points: list[Floats] = []
        triangles, labels, cuts, emissivities = [], [topology.label], [self._skin_cut], [np.full(n, skin_emissivity)]
        weights, temperatures, normals, offset = [], [], [], n
        breathing, jaw = [np.zeros(0)], [np.zeros(0)]
        for layer in appearance.layers:
            count = len(layer.vertices)
            cut = np.ones(count) if layer.cut is None else layer.cut
            shown = layer.triangles[(cut[layer.triangles] > _HIDDEN).all(1)]
            triangles.append(shown + offset)
            labels.append(np.full(count, layer.label))
            cuts.append(cut)
            emissivities.append(np.broadcast_to(np.asarray(layer.emissivity, np.float64), count))
            weights.append(self._put_on(layer))
            temperatures.append(layer.temperature)
            breathing.append(np.zeros(count) if layer.breathing is None else layer.breathing)
            jaw.append(np.zeros(count) if layer.jaw is None else layer.jaw)
            normals.append(raster.surface_normals(layer.vertices, layer.triangles))
            self._layer_points.append(layer.vertices)
            offset += count
        self._layer_triangles = np.concatenate([np.zeros((0, 3), np.int32), *triangles]).astype(np.int32)
        # skin wholly under cloth is never drawn
        self._bare_triangles = topology.triangles[(self._skin_cut[topology.triangles] >= 0).any(1)]
        self._triangles = np.concatenate([self._bare_triangles, self._layer_triangles])
        self._label = np.concatenate(labels).astype(np.uint8)
        self._cut = np.concatenate(cuts).astype(np.float32)
        self._emissivity = np.concatenate(emissivities).astype(np.float32)
        self._layer_vertices = np.concatenate([np.zeros((0, 3)), *self._layer_points])
        self._normals = np.concatenate([np.zeros((n, 3)), *normals])
        self._expression: tuple[bytes, tuple[Floats, Floats, list[_Hair]]] | None = None
        # buffers of a frame, used again by the next
        self._points, self._screen = np.empty((offset, 3)), np.empty((offset, 3))
        self._cosine = np.empty(offset, np.float32)
        self._strand_points = np.empty((0, 3), np.float32)
        self._seen = empty_visibility(view.window * SAMPLES, view.window * SAMPLES)
        self._layer_weights = np.concatenate([np.zeros(0, np.float32), *weights])
        self._bend_weights = np.concatenate([self._skin_weights, self._layer_weights])
        self._layer_temperature = np.concatenate([np.zeros(0), *temperatures])
        self._layer_breathing, self._layer_jaw = np.concatenate(breathing), np.concatenate(jaw)[:, None]
        self._on_jaw = bool(self._layer_jaw.any())
        # a coarse grid cannot resolve single hairs: fewer and wider ones cover the same area
        every = max(1, _FINE_WINDOW // view.window)
        self._hair = [self._prepare(strands, every=every) for strands in appearance.hair if len(strands.points)]
        at_rest = appearance.facial_hair.strands(head.rest, head.rest_normals, head.raw)
        self._facial_weights = [self._follow(strands.points.reshape(-1, 3), strands.follow) for strands in at_rest]

    def _put_on(self, layer: Layer) -> NDArray[np.float32]:
        """Bend weights (m,) of a layer. Cloth holds back the skin at its edge and hides what lies beneath."""
        if layer.follow == "rigid":
            return np.ones(len(layer.vertices), np.float32)
        rest = self.head.rest
        near = np.flatnonzero(rest[:, 1] < layer.vertices[:, 1].max() + _COLLAR_REACH)
        if not len(near):  # wholly below the head mesh: it stays where it is
            return np.zeros(len(layer.vertices), np.float32)
        if layer.cut is not None and layer.label == _CLOTH:
            found_at = cKDTree(layer.vertices).query(rest[near], distance_upper_bound=_COLLAR_REACH)
            distance, above = np.asarray(found_at[0]), np.asarray(found_at[1])
            found = np.isfinite(distance)
            touched, inside = near[found], np.asarray(layer.cut[above[found]])
            beneath = distance[found] < 3 * _CLOTH_GAP
            hidden = np.where(beneath, _COLLAR_OVERLAP - inside, 1.0)
            self._skin_cut[touched] = np.minimum(self._skin_cut[touched], hidden)
            away = np.maximum(distance[found] - _CLOTH_GAP, 0) - inside
            t = np.clip(1 - away / _COLLAR_FADE, 0, 1)
            # the jaw is rigid with the skull, whatever collar stands beneath it
            # but the nape, at the jaw's height, is held
            behind = _ease(np.clip((self.neck.pivot[2] - _NAPE_FADE[0] - rest[touched, 2]) / _NAPE_FADE[1], 0, 1))
            below_jaw = self.neck.chin - _JAW_FADE[0] - rest[touched, 1] + _NAPE_RISE * behind
            height = np.clip(below_jaw / (_JAW_FADE[1] - _JAW_FADE[0]), 0, 1)
            held = (1 - _COLLAR_GIVE) * _ease(t) * _ease(height)
            self._skin_weights[touched] *= (1 - held).astype(np.float32)
        _, below = cKDTree(rest[near]).query(layer.vertices if layer.anchor is None else layer.anchor)
        return np.asarray(self._skin_weights[near][np.asarray(below)], np.float32)

    def _follow(self, points: Floats, follow: str) -> NDArray[np.float32]:
        return np.ones(len(points), np.float32) if follow == "rigid" else self.neck.weights(points)

    def _prepare(self, strands: Strands, weights: NDArray[np.float32] | None = None, every: int = 1) -> _Hair:
        points = strands.points[::every]
        if weights is None:
            weights = self._follow(points.reshape(-1, 3), strands.follow)
        distance = self.view.eye[2] - self.neck.pivot[2]
        width = np.broadcast_to(strands.half_width, len(strands.points))[::every] * every
        return _Hair(
            points=np.ascontiguousarray(points, np.float32).reshape(-1, 3),
            weights=weights,
            temperature=np.ascontiguousarray(strands.temperature[::every], np.float32),
            half_width=(width * (self.view.focal * SAMPLES / distance)).astype(np.float32),
            label=int(strands.label),
        )

    def _express(self, weights: NDArray[np.float64]) -> tuple[Floats, Floats, list[_Hair]]:
        """Surface (n, 3), normals (n, 3) and facial hair of an expression; kept while the expression stays the same."""
        key = np.asarray(weights, np.float64).tobytes()
        if self._expression is None or self._expression[0] != key:
            raw, surface = deform(self.head, weights)
            normals = raster.surface_normals(surface, self.head.topology.triangles)
            grown = self.appearance.facial_hair.strands(surface, normals, raw)
            hair = [self._prepare(strands, bound) for strands, bound in zip(grown, self._facial_weights, strict=True)]
            self._expression = key, (surface, normals, hair)
        return self._expression[1]

    def _project(self, points: NDArray[Any], out: NDArray[Any]) -> NDArray[Any]:
        centre = self.view.window * SAMPLES / 2
        return raster.project(points, self.view.focal * SAMPLES, centre, self.view.eye, out)

    def _draw(self, hair: _Hair, pose: NeckPose, seen: Visibility) -> None:
        count = len(hair.points)
        if count > len(self._strand_points):
            self._strand_points = np.empty((count, 3), np.float32)
        posed = bend(hair.points, hair.weights, pose, self._strand_points[:count])
        screen = self._project(posed, posed).reshape(*hair.temperature.shape, 3)
        draw_strands(screen, hair.temperature, hair.half_width, hair.label, seen.triangle, seen.depth, seen.weight)

    def render(
        self, head_pose: NDArray[np.float64], weights: NDArray[np.float64], breath: float = 0.0, turn: float = 0.0
    ) -> Observation:
        """Render one frame.

        Args:
            head_pose: (3,) yaw, pitch, roll in degrees of the head on its neck.
            weights: (52,) weights of `expression.FACE_UNITS`.
            breath: -1 (inhaled) .. 1 (exhaled).
            turn: degrees by which the whole person is turned; positive as yaw.

        Raises:
            UsageError: a part of the head is nearer to the lens than the engine can draw.
        """
        topology, view = self.head.topology, self.view
        pose = neck_pose(self.neck, head_pose, -breath, turn)
        expressed, normals, facial = self._express(weights)
        n, points = len(expressed), self._points
        bend(expressed, self._skin_weights, pose, points[:n])
        worn = self._layer_vertices
        if self._on_jaw:
            chin = topology.landmarks[CHIN]
            worn = worn + self._layer_jaw * (expressed[chin] - self.head.rest[chin])
        bend(worn, self._layer_weights, pose, points[n:])
        surface = points[:n].copy()
        self._normals[:n] = normals
        cosine = facing(points, self._normals, self._bend_weights, pose, view.eye, self._cosine)
        screen = self._project(points, self._screen)
        if (nearest := float(screen[: len(surface), 2].min())) < 2 * raster.NEAR:
            raise UsageError(
                f"the head comes within {nearest:.2f} m of the lens; allowed: {2 * raster.NEAR:g} m or more; "
                f"raise the camera's distance"
            )

        landmarks_3d = surface[topology.landmarks]
        towards = seen_pose(head_pose, turn)
        marked, outline = outline_landmarks(surface, landmarks_3d, towards, view)
        visibility = LandmarkVisibility(outline, view, SAMPLES)
        seen = self._seen
        clear_visibility(seen)
        draw_triangles(screen, self._bare_triangles, self._cut, seen, cull=True)
        visibility.see_head(seen.depth)
        if len(self._layer_triangles):
            draw_triangles(screen, self._layer_triangles, self._cut, seen, first=len(self._bare_triangles))
        for hair in self._hair:
            self._draw(hair, pose, seen)
        states = visibility.states(seen.depth)  # before brows and beard: they are part of the face and hide nothing
        for hair in facial:
            self._draw(hair, pose, seen)

        skin = self.appearance.skin.at(breath)
        layers = self._layer_temperature + breath * self._layer_breathing
        temperature = np.concatenate([skin, layers], dtype=np.float32, casting="same_kind")
        radiance, objects, segment, depth = integrate(
            seen, self._triangles, temperature, cosine, self._emissivity, self._label,
            self._background, self.ambient, SAMPLES,
        )  # fmt: skip
        return Observation(
            radiance=radiance,
            temperature=objects,
            segment=segment,
            depth=depth,
            surface=surface,
            landmarks_3d=landmarks_3d,
            landmarks=view.project(marked),
            landmark_state=states,
            head_pose=towards,
            skin=skin,
            seen=seen,
        )
