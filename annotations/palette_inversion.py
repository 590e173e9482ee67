"""False-colour pictures back to intensity: which palette it is, known or estimated, and gray for every colour.

All colours of a false-colour picture lie on one curve through colour space, the palette. A picture is compared with
the curves that cameras and plotting programs use; when none fits, the curve is found from the picture's colours alone.
Compression, resizing, borders and burnt-in text move some of the colours off the curve, so fits count medians and
shares, and a colour's gray is that of the curve's nearest place. Distances are in luma and chroma (ITU-R BT.601, full
range, as in JPEG), the chroma weighted less, since JPEG and video blur it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import dijkstra, minimum_spanning_tree
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from thermvision.annotations.errors import UsageError
from thermvision.annotations.palettes import palette

Floats = NDArray[np.float64]
CHROMA_WEIGHT = 0.6
_TO_YCC = np.array(
    [
        [0.299, 0.587, 0.114],
        [-0.168736 * CHROMA_WEIGHT, -0.331264 * CHROMA_WEIGHT, 0.5 * CHROMA_WEIGHT],
        [0.5 * CHROMA_WEIGHT, -0.418688 * CHROMA_WEIGHT, -0.081312 * CHROMA_WEIGHT],
    ]
).T

_OURS = ("iron", "rainbow", "ember")
_MATPLOTLIB = (
    *("inferno", "magma", "plasma", "viridis", "cividis", "hot", "afmhot", "gist_heat", "copper", "gnuplot"),
    *("gnuplot2", "CMRmap", "jet", "turbo", "nipy_spectral", "coolwarm"),
    *("gist_ncar", "gist_stern", "gist_rainbow_r", "Spectral_r", "RdYlBu_r"),
)
# the "iron" of common hand-held cameras, a few stops of it: gray, red, green, blue; read off the colours of a published
# figure of SpeakingFaces (github.com/IS2AI/SpeakingFaces, MIT)
_IRONBOW = (
    *((0, 0, 16, 29), (11, 0, 4, 80), (29, 44, 0, 128), (43, 90, 0, 157), (58, 127, 0, 168), (69, 157, 7, 162)),
    *((84, 188, 24, 143), (100, 216, 48, 108), (115, 236, 78, 70), (131, 250, 107, 36), (147, 255, 140, 8)),
    *((165, 255, 178, 0), (180, 255, 198, 4), (199, 255, 226, 45), (216, 254, 242, 105), (236, 248, 253, 185)),
    (255, 243, 255, 255),
)
KNOWN: tuple[str, ...] = (*_OURS, "ironbow", *_MATPLOTLIB)

COLOURFUL = 24  # red, green and blue differ by this much: not gray with JPEG noise
_SAMPLE = 6000  # pixels that a picture is judged by
_CALM_PERCENT = 40
_MEDIAN, _NEAR, _NEAR_SHARE = 5.0, 14.0, 0.8  # a fit: half of the pixels within, and this share within
_TIGHT, _MUCH_BETTER = 1.2, 0.6  # mean distance that asks for no second opinion; factor that prefers the own curve
_CELL, _MAX_CELLS, _FEWEST, _RARE = (
    8,
    500,
    4,
    2e-4,
)  # colours are counted in cells of this edge; rarer ones are left out
# share of the cells that lie near: of an own curve within _CELL_NEAR, of a known one within _NEAR
_CELL_NEAR, _CELL_SHARE, _KNOWN_SHARE = 10.0, 0.91, 0.7
_NODES = 48  # of an estimated curve: fewer would cut its corners, more would follow the noise
_LONGEST = 1700.0  # of an estimated curve in RGB: a full turn of hues is 1530 long
_FINE = 4  # places of the curve a gray value


def to_ycc(rgb: NDArray[np.generic]) -> Floats:
    """Luma and weighted chroma (..., 3) of colours (..., 3), red green blue 0..255, without offsets."""
    return np.asarray(rgb, np.float64) @ _TO_YCC


@dataclass(frozen=True, eq=False)
class PaletteMap:
    """One palette, and the gray of every colour; found once, then reused for the other frames of the source.

    Colours met before are looked up, so that later frames of a source cost little.

    Attributes:
        name: one of `KNOWN`, or ``estimated``.
        colours: (K, 3) float64, red green blue 0..255, cold first, at gray values evenly spaced from 0 to 255.

    >>> from thermvision.annotations.palettes import apply_palette
    >>> gray = np.arange(256, dtype=np.uint8)[None]
    >>> bool((known_palette("iron")(apply_palette(gray, "iron")) == gray).all())
    True
    """

    name: str
    colours: Floats
    _tree: cKDTree = field(init=False, repr=False)
    _gray: NDArray[np.uint8] = field(init=False, repr=False)
    # gray + 1 of each 24-bit colour, and of each cell of 2 x 2 x 2 colours; 0 where not yet met
    _seen: NDArray[np.uint16] = field(init=False, repr=False)
    _cells: NDArray[np.uint16] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        count = len(self.colours)
        place = np.linspace(0, count - 1, (count - 1) * _FINE + 1)
        fine = np.stack([np.interp(place, np.arange(count), channel) for channel in self.colours.T], 1)
        object.__setattr__(self, "_tree", cKDTree(to_ycc(fine)))
        object.__setattr__(self, "_gray", np.rint(place * 255 / (count - 1)).astype(np.uint8))
        object.__setattr__(self, "_seen", np.zeros(1 << 24, np.uint16))
        object.__setattr__(self, "_cells", np.zeros(1 << 21, np.uint16))
        for own in (np.floor(self.colours), np.rint(self.colours)):  # the palette's own colours are exact
            colours = own.astype(np.uint8)
            self._seen[_pack(colours)] = self._nearest(colours) + 1

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Gray (...) uint8, warm is bright, of colours (..., 3) uint8, red green blue."""
        packed = _pack(image)
        found = self._seen.take(packed)
        unknown = np.flatnonzero(found == 0)
        if len(unknown):
            new = packed.ravel()[unknown]
            cell = (new >> 1 & 127) | (new >> 9 & 127) << 7 | (new >> 17) << 14
            gray = self._cells.take(cell)
            if not gray.all():
                fresh = np.unique(cell[gray == 0])
                centres = np.stack([fresh & 127, fresh >> 7 & 127, fresh >> 14], 1) * 2 + 0.5
                self._cells[fresh] = self._nearest(centres) + 1
                gray = self._cells.take(cell)
            self._seen[new] = gray
            found.ravel()[unknown] = gray
        return np.asarray(found - 1, np.uint8)

    def _nearest(self, rgb: NDArray[np.generic]) -> NDArray[np.uint16]:
        return self._gray[self._tree.query(to_ycc(rgb))[1]].astype(np.uint16)

    def distances(self, ycc: Floats) -> Floats:
        """How far colours (N, 3) of `to_ycc` are from the palette, (N,)."""
        return _nearest_distance(self._tree, ycc)


def _pack(image: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Colours (..., 3) as one number each, red in the lowest byte."""
    four = cv2.cvtColor(np.ascontiguousarray(image).reshape(1, -1, 3), cv2.COLOR_RGB2RGBA)
    return np.asarray(four.view("<u4") & 0xFFFFFF, np.uint32).reshape(image.shape[:-1])


@lru_cache(4)
def known_palette(name: str) -> PaletteMap:
    """The map of one of the `KNOWN` palettes.

    Raises:
        UsageError: no such palette.
    """
    return PaletteMap(name, known_colours(name))


@lru_cache(None)
def known_colours(name: str) -> Floats:
    """The 256 colours (256, 3) float64 of one of the `KNOWN` palettes, red green blue 0..255, cold first.

    Raises:
        UsageError: no such palette.

    >>> known_colours("inferno")[[0, 255]].astype(int).tolist()
    [[0, 0, 3], [252, 254, 164]]
    """
    if name not in KNOWN:
        raise UsageError(f"palette is {name!r}; allowed: auto, none, estimated, {', '.join(KNOWN)}")
    if name in _OURS:
        colours = palette(name).astype(np.float64)
    elif name == "ironbow":
        stops = np.array(_IRONBOW, np.float64)
        colours = np.stack([np.interp(np.arange(256), stops[:, 0], stops[:, c]) for c in (1, 2, 3)], 1)
    else:
        from matplotlib import colormaps  # 0.3 s that gray pictures need not pay

        colours = np.asarray(colormaps[name](np.arange(256), bytes=True), np.float64)[:, :3]
    colours.setflags(write=False)
    return colours


def colourful(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pixels (...) of an image (..., 3) are no gray."""
    return np.asarray(np.ptp(image, axis=-1) >= COLOURFUL)


def recognise_palette(image: NDArray[np.uint8], names: Sequence[str] = KNOWN) -> PaletteMap | None:
    """The palette a picture (H, W, 3) uint8, red green blue, is drawn in; None when it is no false-colour picture.

    Of the known palettes the one with the nearest colours, if it is near enough; the picture's own curve when none is,
    or when that fits much better and its colours do lie on one, as with palettes that colour management has bent.
    Grays take no part: borders and text are gray, and so are the ends of many palettes.
    """
    sample, cells = to_ycc(_sample(image)), to_ycc(_cells(image))
    if not len(sample) or len(cells) < _FEWEST:
        return None
    best, name = np.inf, ""
    for candidate in names:
        curve = cKDTree(to_ycc(known_colours(candidate)))
        distance = _nearest_distance(curve, sample)
        mean = float(np.minimum(distance, _NEAR).mean())
        if mean < best and _is_near(distance) and (_nearest_distance(curve, cells) <= _NEAR).mean() >= _KNOWN_SHARE:
            best, name = mean, candidate
    if best <= _TIGHT:
        return known_palette(name)
    own = estimate_palette(image)
    if own is not None and float(np.minimum(own.distances(sample), _NEAR).mean()) < _MUCH_BETTER * best:
        return own
    return known_palette(name) if name else None


def _sample(image: NDArray[np.uint8]) -> Floats:
    """Colours (N, 3) that are no gray, at most `_SAMPLE`, from the calmer part of a picture (H, W, 3).

    At edges compression and resizing mix colours, which then lie beside every curve; plain areas keep theirs.
    """
    calm = cv2.morphologyEx(image, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)).max(axis=-1)
    chosen = colourful(image)
    if not chosen.any():
        return np.zeros((0, 3))
    pixels = image[chosen & (calm <= np.percentile(calm[chosen], _CALM_PERCENT))]
    return pixels[:: max(1, len(pixels) // _SAMPLE)].astype(np.float64)


def _nearest_distance(curve: cKDTree, points: Floats) -> Floats:
    return np.asarray(curve.query(points)[0], np.float64)


def _is_near(distance: Floats) -> bool:
    return bool(np.median(distance) <= _MEDIAN and (distance <= _NEAR).mean() >= _NEAR_SHARE)


def estimate_palette(image: NDArray[np.uint8]) -> PaletteMap | None:
    """The palette of a picture (H, W, 3) uint8 from its colours alone; None when they lie on no curve.

    The longest path through the minimum spanning tree of the picture's colours orders them, whatever their luminance.
    Gray is the length along that path, from the picture's own coldest colour to its hottest; of its ends the hot one
    is that towards which luma and redness rise.
    """
    centres = _cells(image)
    if len(centres) < _FEWEST:
        return None
    path = to_ycc(centres)[_longest_path(to_ycc(centres))]
    colours = np.clip(_resample(_resample(path, _NODES), 256) @ np.linalg.inv(_TO_YCC), 0, 255)
    sample, nearest = to_ycc(_sample(image)), cKDTree(to_ycc(colours))
    if not len(sample) or _length(colours) > _LONGEST or not _is_near(_nearest_distance(nearest, sample)):
        return None
    if (_nearest_distance(nearest, to_ycc(centres)) <= _CELL_NEAR).mean() < _CELL_SHARE:
        return None  # a photograph of few colours: some of them lie beside the curve, however few pixels have them
    warmth = colours @ np.array([0.299 + 0.35, 0.587, 0.114 - 0.35])
    rises = warmth @ np.linspace(-1, 1, len(warmth)) >= 0
    return PaletteMap("estimated", colours if rises else colours[::-1].copy())


def _cells(image: NDArray[np.uint8]) -> Floats:
    """The picture's colours (n, 3), one for each cell of edge `_CELL`, the mean of it; the rarest left out."""
    pixels = image.reshape(-1, 3)
    pixels = pixels[:: max(1, len(pixels) // 60_000)]
    key = (pixels // _CELL).astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    _, place, counts = np.unique(key, return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(place, weights=channel) for channel in pixels.T.astype(np.float64)], 1)
    keep = np.argsort(-counts, kind="stable")[:_MAX_CELLS]
    keep = keep[counts[keep] >= max(2.0, _RARE * len(pixels))]
    return np.asarray(sums[keep] / counts[keep, None], np.float64)


def _longest_path(points: Floats) -> list[int]:
    """Indices of the points along the longest path through their minimum spanning tree."""
    tree = minimum_spanning_tree(cdist(points, points)).toarray()
    first = int(dijkstra(tree, directed=False, indices=[0])[0].argmax())
    distance, before = dijkstra(tree, directed=False, indices=[first], return_predecessors=True)
    path = [int(distance[0].argmax())]
    while path[-1] != first:
        path.append(int(before[0, path[-1]]))
    return path


def _length(curve: Floats) -> float:
    return float(np.linalg.norm(np.diff(curve, axis=0), axis=1).sum())


def _resample(curve: Floats, count: int) -> Floats:
    """``count`` points (count, 3) evenly spaced along a polyline (n, 3)."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    target = np.linspace(0, along[-1], count)
    return np.stack([np.interp(target, along, channel) for channel in curve.T], 1)
