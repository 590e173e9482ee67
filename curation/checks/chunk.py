"""The checks over a chunk of items: scores become findings, frames in a row one finding, and the worst get pictures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.conventions import five_points
from thermvision.annotations.draw import EXTRA_BOX_COLOUR, draw_bbox, draw_landmarks, to_rgb
from thermvision.annotations.errors import DamagedInputError

from ..inputs import Chunk
from ..runners import Advance
from ..store import atomic_path, atomic_write
from . import anatomy, integrity, labels, physics, pixels, sequence
from .catalogue import KINDS, Found, Options, badness, number_of, severity, worse
from .kinds import FrameView, Group, ItemView, Scored
from .views import Looking, Viewed, each_view

FRAME_CHECKS = (pixels, anatomy, physics, labels)
EVIDENCE_WIDTH = 384  # pixels
TALLEST = 1.5  # heights over widths: a taller picture becomes narrower


class Embeds(Protocol):
    """What is needed of an embedder; see `thermvision.annotations.embedder`."""

    source: str

    def embed(self, image: Any, keypoints: Any = None) -> NDArray[np.float32]: ...


class _Watches(Protocol):
    def add(self, frame: FrameView) -> None: ...
    def finish(self) -> Iterator[Scored]: ...


def check_chunk(
    chunk: Chunk,
    advance: Advance,
    *,
    source: str,
    looking: Looking,
    embedder: Embeds | None,
    options: Options,
    work: Path,
) -> dict[str, Any]:
    """The part of a chunk; see `Report`."""
    cv2.setNumThreads(1)
    embed = None if embedder is None else partial(_embed, embedder)
    part = _Part(options, work, chunk.key)
    try:
        for viewed in each_view(source, chunk, looking):
            part.item(viewed, looking.every, embed, advance)
    except DamagedInputError as error:  # a shard that cannot be read to its end
        part.broken(chunk, error)
    return part.plain()


def _embed(embedder: Embeds, gray: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    vector: NDArray[np.float32] = embedder.embed(gray, five_points(landmarks)[None])[0]
    return vector


@dataclass
class _Run:
    """Frames one after the other that are beyond a threshold."""

    first: int
    last: int
    frames: int
    worst: Scored


class _Part:
    """Collects what the checks say of the items of a chunk."""

    def __init__(self, options: Options, work: Path, key: str) -> None:
        self.options, self.work, self.key = options, work, key
        self._kinds = {code: options.kind(code) for code in options.codes}
        self.items = self.frames = 0
        self.scored: dict[str, tuple[int, float | None]] = {}
        self.findings: list[dict[str, Any]] = []
        self._scores = _Scores() if options.scores else None
        self._shown: dict[str, list[tuple[float, str]]] = defaultdict(list)
        self._drawn = 0

    def item(
        self, viewed: Viewed, every: int, embed: Callable[..., NDArray[np.float32]] | None, advance: Advance
    ) -> None:
        """Look at one item and all its frames."""
        item = viewed.item
        scores: list[Scored] = list(labels.item_scores(item)) if self._wanted(labels) else []
        runs: dict[str, list[_Run]] = defaultdict(list)
        evidence = _Evidence()
        watches: list[_Watches] = []
        if item.is_video and self._wanted(pixels):
            watches.append(pixels.PixelWatch(item))
        if item.is_video and self._wanted(sequence):
            watches.append(sequence.SequenceWatch(item, embed))
        checks = [module for module in FRAME_CHECKS if self._wanted(module)]
        count, shape = 0, None
        try:
            for view in viewed.frames():
                shape = view.pixels.shape if shape is None else shape
                count += 1
                for watch in watches:
                    watch.add(view)
                if view.index % every == 0:
                    for check in checks:
                        for one in check.frame_scores(view):
                            self._frame(item, view, one, every, runs, evidence)
                advance(1)
        except DamagedInputError as error:
            scores.append(integrity.undecodable(error))
        else:
            if item.row:
                scores += integrity.media_findings(item, count, shape, viewed.fps)
        for watch in watches if count else ():
            scores += watch.finish()
        self.items, self.frames = self.items + 1, self.frames + count
        found = [self._whole(viewed, one) for one in scores if self._counts(item, one)]
        found += [self._of_run(viewed, code, run) for code, some in runs.items() for run in some]
        self._draw(viewed, found, evidence)
        self.findings += [asdict(f) for f in found]

    def _wanted(self, module: Any) -> bool:
        return any(kind.code in self.options.codes for kind in module.KINDS)

    def _counts(self, item: ItemView, one: Scored, frame: int | None = None) -> bool:
        """Take note of a score, of ``frame`` or as it says itself; whether it is a finding that is looked for."""
        kind = self._kinds.get(one.code)
        if kind is None:
            return False
        number = number_of(one.score)
        seen, worst = self.scored.get(one.code, (0, None))
        self.scored[one.code] = seen + 1, worse(kind, worst, number)
        if self._scores is not None:
            self._scores.add(item.item_id, one, one.first if frame is None else frame)
        return kind.is_finding(one.score)

    def _frame(
        self,
        item: ItemView,
        view: FrameView,
        one: Scored,
        every: int,
        runs: dict[str, list[_Run]],
        evidence: _Evidence,
    ) -> None:
        if not self._counts(item, one, view.index):  # nearly all: a frame has about forty scores
            return
        one = replace(one, first=view.index, last=view.index)
        some, kind = runs[one.code], KINDS[one.code]
        if some and view.index - some[-1].last <= every:
            run = some[-1]
            run.frames += view.index != run.last
            run.last = view.index
            if badness(kind, one.score) > badness(kind, run.worst.score):
                run.worst = one
        else:
            some.append(_Run(view.index, view.index, 1, one))
        if self.options.pictures:
            evidence.offer(one, view)

    def _whole(self, viewed: Viewed, one: Scored) -> Found:
        kind, frames = self.options.kind(one.code), 0
        if one.first is not None and one.last is not None:
            frames = one.last - one.first + 1
        return Found(
            one.code, kind.group, severity(kind), viewed.item.item_id, viewed.subject_id, viewed.item.config,
            viewed.item.split, first=one.first, last=one.last, frames=frames, score=number_of(one.score),
            threshold=kind.threshold, detail=one.detail,
        )  # fmt: skip

    def _of_run(self, viewed: Viewed, code: str, run: _Run) -> Found:
        if not viewed.item.is_video:
            return replace(self._whole(viewed, run.worst), first=None, last=None, frames=1)
        whole = self._whole(viewed, run.worst)
        return replace(whole, first=run.first, last=run.last, frames=run.frames)

    def _draw(self, viewed: Viewed, found: list[Found], evidence: _Evidence) -> None:
        """Pictures of the worst findings of each kind in this chunk; the others go without."""
        if not self.options.pictures:
            return
        waiting: dict[int, list[int]] = defaultdict(list)  # finding numbers by frame still to be decoded
        views: dict[int, FrameView] = {}
        taken: Counter[str] = Counter()
        for number in sorted(range(len(found)), key=lambda k: -badness(KINDS[found[k].code], found[k].score)):
            one, shown = found[number], self._shown[found[number].code]
            full = len(shown) >= self.options.pictures and badness(KINDS[one.code], one.score) <= shown[-1][0]
            if full or taken[one.code] == self.options.pictures:
                continue
            taken[one.code] += 1
            view = evidence.of(one)
            if view is not None:
                views[number] = view
            else:
                waiting[((one.first or 0) + (one.last or 0)) // 2].append(number)
        if waiting:
            for view in _frames_again(viewed, set(waiting)):
                views |= dict.fromkeys(waiting[view.index], view)
        for number, view in views.items():
            name = f"pictures/{self.key}-{self._drawn:04d}.jpg"
            self._drawn += 1
            atomic_write(self.work / name, _evidence_jpeg(view, KINDS[found[number].code].group), durable=False)
            shown = self._shown[found[number].code]
            shown.append((badness(KINDS[found[number].code], found[number].score), name))
            shown.sort(key=lambda kept: -kept[0])
            for _, dropped in shown[self.options.pictures :]:
                (self.work / dropped).unlink(missing_ok=True)
            del shown[self.options.pictures :]
            found[number] = replace(found[number], picture=name)

    def broken(self, chunk: Chunk, error: DamagedInputError) -> None:
        """Note that a chunk could not be read to its end."""
        one = integrity.undecodable(error)
        if one.code in self.options.codes:
            rest = ", ".join(chunk.item_ids[self.items :][:3])
            kind = self.options.kind(one.code)
            detail = f"{one.detail}; not looked at: {len(chunk.item_ids) - self.items} items ({rest}, ...)"
            self.findings.append(asdict(Found(one.code, kind.group, severity(kind), path=chunk.key, detail=detail)))

    def plain(self) -> dict[str, Any]:
        """What crosses process borders."""
        if self._scores is not None:
            self._scores.write(self.work / f"{self.key}.scores.parquet")
        kept = {name for shown in self._shown.values() for _, name in shown}
        findings = [f if f["picture"] in kept else {**f, "picture": ""} for f in self.findings]
        return {"items": self.items, "frames": self.frames, "findings": findings,
                "scored": {code: list(value) for code, value in self.scored.items()}}  # fmt: skip


class _Evidence:
    """The frame with the worst score of each kind of one item: as many frames as there are kinds, at most."""

    def __init__(self) -> None:
        self._worst: dict[str, tuple[float, FrameView]] = {}

    def offer(self, one: Scored, view: FrameView) -> None:
        how_bad = badness(KINDS[one.code], one.score)
        if one.code not in self._worst or how_bad > self._worst[one.code][0]:
            self._worst[one.code] = how_bad, view

    def of(self, found: Found) -> FrameView | None:
        """The frame of a finding, where it is of its frames."""
        view = self._worst.get(found.code, (0.0, None))[1]
        inside = view is not None and (found.first is None or found.first <= view.index <= (found.last or view.index))
        return view if inside else None


def _frames_again(viewed: Viewed, indices: Collection[int]) -> Iterator[FrameView]:
    """Frames of an item that was read to its end before; fewer where it does not decode."""
    last = max(indices)
    try:
        for view in viewed.frames():
            if view.index in indices:
                yield view
            if view.index >= last:
                return
    except DamagedInputError:
        return


def _evidence_jpeg(view: FrameView, group: Group) -> bytes:
    """What a finding of a group is seen by, with the labels where it is about those: small, see `EVIDENCE_WIDTH`.

    Heat is looked at without lines over it, and near by.
    """
    image = to_rgb(view.pixels)
    bare = group in ("face", "physics", "image")
    if group in ("face", "physics") and view.landmarks is not None:
        x, y, width, height = _around(view.landmarks, image.shape)
        image, moved = image[y : y + height, x : x + width], np.array([x, y], np.float32)
    else:
        moved = np.zeros(2, np.float32)
    scale = EVIDENCE_WIDTH / max(image.shape[1], round(image.shape[0] / TALLEST), 1)
    if scale < 1 or moved.any():
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC))
    else:
        scale = 1.0
    if not bare:
        _draw_labels(image, view, scale)
    encoded = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
    return bytes(encoded.tobytes())


def _draw_labels(image: NDArray[np.uint8], view: FrameView, scale: float) -> None:
    for box in view.found_boxes if view.found_boxes is not None else ():
        draw_bbox(image, box * scale, EXTRA_BOX_COLOUR)
    if view.bbox is not None:
        draw_bbox(image, view.bbox * scale)
    if view.landmarks is not None:
        draw_landmarks(image, view.landmarks * scale, view.states)


def _around(landmarks: NDArray[np.float32], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The part of a frame around a face with forehead and hair: x, y, width, height, within the frame."""
    low, high = landmarks.min(0), landmarks.max(0)
    side = 1.7 * float((high - low).max())
    centre = (low + high) / 2 - (0, 0.12 * side)
    start = np.clip(centre - side / 2, 0, (shape[1] - 2, shape[0] - 2)).astype(int)
    end = np.clip(centre + side / 2, start + 2, (shape[1], shape[0])).astype(int)
    return int(start[0]), int(start[1]), int(end[0] - start[0]), int(end[1] - start[1])


class _Scores:
    """Every score of a chunk in columns."""

    def __init__(self) -> None:
        self.columns: dict[str, list[Any]] = {"item_id": [], "code": [], "frame": [], "score": []}

    def add(self, item_id: str, one: Scored, frame: int | None) -> None:
        for name, value in zip(self.columns, (item_id, one.code, frame, float(one.score)), strict=True):
            self.columns[name].append(value)

    def write(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = {"item_id": pa.string(), "code": pa.string(), "frame": pa.int32(), "score": pa.float32()}
        table = pa.table(self.columns, schema=pa.schema(types.items()))
        with atomic_path(path, durable=False) as temporary:
            pq.write_table(table, temporary, compression="zstd")
