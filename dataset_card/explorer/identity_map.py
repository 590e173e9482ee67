"""A map of the people of a release: who looks alike lies together, as the shipped embedder sees their faces.

A few pictures of each person are embedded, their mean is laid out in the plane, and the result is kept in the user's
cache, so that a release is looked at once. Nothing is written into the release.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.conventions import five_points
from thermvision.annotations.errors import DamagedInputError, OutputError, ThermVisionError, UsageError
from thermvision.curation.duplicates import faces
from thermvision.curation.statistics.columns import vectors
from thermvision.curation.store import atomic_write, canonical_json, read_json, sha256_bytes
from thermvision.dataset_card.samples import evenly

from .catalogue import Catalogue
from .frame_lists import of_frames, points
from .item_row import ItemRow
from .media import ReleaseMedia
from .plane import NEAREST, nearest, plane

MAX_PEOPLE = 2000
STILLS, CLIPS = 4, 2  # of each person
FRAMES_OF_CLIP = 2
LOOKED_AT = 8  # frames of a clip among which the most frontal are taken
COVERS, COVERED = ("glasses", "mask", "headwear"), 45.0  # each counts as so many degrees of turn
MEMORY = 2**27
CACHE_VARIABLE = "THERMVISION_CACHE"
_FORMAT = "thermvision-identity-map/1"
_log = logging.getLogger(__name__)

Floats = NDArray[np.float32]


def cache_folder() -> Path:
    """Where maps are kept: ``$THERMVISION_CACHE``, or the user's cache folder."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "thermvision"
    return Path(os.environ.get(CACHE_VARIABLE) or usual).expanduser() / "explorer"


@dataclass(frozen=True, eq=False)
class Person:
    """One person: mean embedding (D,) of unit length, the item and frame that show the face best, and the pictures."""

    subject: str
    embedding: Floats
    item_id: str
    frame: int
    pictures: int


class IdentityMap:
    """The map of one reading of a catalogue; it is made in the background when it is first asked for.

    Args:
        catalogue: of the release.
        digest: `ReleaseSource.digest` of the release; None while it is being built: there is no map then.
        folder: where maps are kept; None: see `cache_folder`.

    mapped = IdentityMap(catalogue, source.digest)
    answer = mapped.state()  # or mapped.wait()
    """

    def __init__(self, catalogue: Catalogue, digest: str | None, folder: Path | None = None) -> None:
        self._catalogue, self._digest = catalogue, digest
        self._folder = folder or cache_folder()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        # not by join: Python 3.11 takes a thread for ended when Ctrl-C comes while it is joined
        self._stopped, self._ended = threading.Event(), threading.Event()
        self._answer: dict[str, Any] = {"state": "computing", "done": 0, "total": 0}
        if digest is None:
            reason = "the release is still being built; the map is drawn when it is whole"
            self._answer = {"state": "unavailable", "reason": reason}

    def state(self) -> dict[str, Any]:
        """The map as ``map.json`` has it, how far it is, or why there is none; starts it."""
        with self._lock:
            if self._digest is not None and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="identity map", daemon=True)
                self._thread.start()
            return self._answer

    def wait(self, seconds: float | None = None) -> dict[str, Any]:
        """`state` when it is made, or after so many seconds."""
        self.state()
        if self._thread is not None:
            self._ended.wait(seconds)
        return self._answer

    def stop(self) -> None:
        """Let the work end early: nobody will ask."""
        self._stopped.set()

    def close(self, seconds: float) -> None:
        """`stop`, and wait so long for the end."""
        self.stop()
        if self._thread is not None:
            self._ended.wait(seconds)

    def _run(self) -> None:
        # whoever clicks comes first
        with contextlib.suppress(AttributeError, OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        try:
            self._answer = self._made()
        except ThermVisionError as error:
            self._answer = {"state": "unavailable", "reason": str(error)}
        except Exception as error:
            _log.exception("the map of identities failed")
            self._answer = {"state": "unavailable", "reason": f"it failed ({type(error).__name__}); see the terminal"}
        finally:
            self._ended.set()

    def _made(self) -> dict[str, Any]:
        subjects = self._catalogue.by_subject()
        basis = [_FORMAT, self._digest, faces.embedder_source(), MAX_PEOPLE, STILLS, CLIPS, FRAMES_OF_CLIP]
        path = self._folder / f"map-{sha256_bytes(canonical_json(basis).encode())[:32]}.json"
        kept = _kept(path)
        if kept is None:
            kept = self._drawn(subjects)
            if self._stopped.is_set():
                raise UsageError("it was stopped")
            # a cache that cannot be written costs time, never the map
            with contextlib.suppress(OutputError, OSError):
                atomic_write(path, canonical_json(kept))
        return self._shown(kept, subjects)

    def _drawn(self, subjects: Mapping[str, Sequence[int]]) -> dict[str, Any]:
        """Method and people, their places and neighbours, without what depends on this reading of the catalogue."""
        names = evenly(sorted(subjects, key=lambda name: subjects[name][0]), MAX_PEOPLE)
        people = []
        media = ReleaseMedia(self._catalogue.root, MEMORY)
        for done, name in enumerate(names):
            self._answer = {"state": "computing", "done": done, "total": len(names)}
            if self._stopped.is_set():
                break
            found = look_at(media, name, [self._catalogue.row(key) for key in subjects[name]])
            if found is not None:
                people.append(found)
        if not people:
            return {"method": "", "looked_at": len(names), "people": []}
        embedded = np.stack([p.embedding for p in people])
        where, how = plane(embedded)
        told = f"{how} of the mean face embeddings ({faces.embedder_source()}) of {len(people)} people"
        if len(people) < len(subjects):
            told += f", out of {len(subjects)}"
        near = nearest(embedded, NEAREST)
        rows = [
            {
                "subject": p.subject, "x": round(float(x), 4), "y": round(float(y), 4), "item": p.item_id,
                "frame": p.frame, "pictures": p.pictures,
                "near": [[people[k].subject, round(float(cosine), 3)] for k, cosine in near[n]],
            }
            for n, (p, (x, y)) in enumerate(zip(people, where, strict=True))
        ]  # fmt: skip
        return {"method": told, "looked_at": len(names), "people": rows}

    def _shown(self, kept: Mapping[str, Any], subjects: Mapping[str, Sequence[int]]) -> dict[str, Any]:
        if not kept["people"]:
            reason = "no face was found in any item with a known subject" if subjects else "no subject is known"
            return {"state": "unavailable", "reason": reason}
        manifest = self._catalogue.manifest
        told = {i.subject_id: i for i in manifest.identities} if manifest is not None else {}
        keys = self._catalogue.keys_of([p["item"] for p in kept["people"]])
        points_shown = []
        for person in kept["people"]:
            name = person["subject"]
            if name not in subjects or person["item"] not in keys:
                continue
            points_shown.append({
                "subject": name, "x": person["x"], "y": person["y"],
                "gender": told[name].gender if name in told else None,
                "split": told[name].split if name in told else self._catalogue.row(keys[person["item"]]).split,
                "key": keys[person["item"]], "frame": person["frame"], "items": len(subjects[name]),
                "near": person["near"],
            })  # fmt: skip
        return {
            "state": "ready", "method": kept["method"], "people": len(subjects), "looked_at": kept["looked_at"],
            "points": points_shown,
        }  # fmt: skip


def _kept(path: Path) -> dict[str, Any] | None:
    """A map from the cache; None where there is none or it does not read."""
    try:
        kept = read_json(path)
        for person in kept["people"]:
            whole = (
                isinstance(person["subject"], str) and isinstance(person["item"], str) and person["near"] is not None
            )
            if not whole or not (0 <= person["x"] <= 1 and 0 <= person["y"] <= 1 and person["frame"] >= 0):
                return None
        return kept if isinstance(kept["method"], str) and isinstance(kept["looked_at"], int) else None
    except (DamagedInputError, KeyError, TypeError):
        return None


def look_at(media: ReleaseMedia, subject: str, items: Sequence[ItemRow]) -> Person | None:
    """A person as seen in some of the clips and stills, but for those that do not read; None where no face is seen."""
    stills = evenly([i for i in items if i.kind == "still"], STILLS)
    clips = evenly([i for i in items if i.kind == "clip"], CLIPS)
    seen: list[Floats] = []
    shown: list[tuple[float, str, int]] = []
    for item in (*stills, *clips):
        if item.kind == "clip" and len(seen) >= STILLS:
            break  # a shard of clips is many times as large as one of stills
        with contextlib.suppress(DamagedInputError, UsageError, ValueError):
            for number, points_found, turned in _faces_of(media, item):
                gray = media.frame(item, number)
                found = points_found if points_found is not None else faces.find_points(gray, _box(media, item, number))
                if found is None or not faces.usable(found):
                    continue
                seen.append(faces.embed(gray, five_points(found)))
                shown.append((turned, item.item_id, number))
    if not seen:
        return None
    mean = np.mean(seen, axis=0)
    length = float(np.linalg.norm(mean))
    _, item_id, number = min(shown)
    return Person(subject, np.asarray(mean / max(length, 1e-12), np.float32), item_id, number, len(seen))


def _faces_of(media: ReleaseMedia, item: ItemRow) -> Iterator[tuple[int, Floats | None, float]]:
    """The most frontal frames of an item: number, landmarks (68, 2) where labels have them, and how badly it shows.

    That is degrees of turn, and more where something covers the face.
    """
    is_clip = item.kind == "clip"
    table = media.rows.columns(item.shard, item.row, ("landmarks", "head_pose", *COVERS))
    covered = COVERED * sum(bool(table[name][0].as_py()) for name in COVERS if name in table.column_names)
    marks, pose = of_frames(table, "landmarks", is_clip), of_frames(table, "head_pose", is_clip)
    known = None if marks is None else points(marks, 68)
    turns = np.full(item.num_frames, 45.0)
    if pose is not None:
        told = np.abs(vectors(pose, 3)[: item.num_frames, :2]).sum(1)
        turns[: len(told)] = np.where(np.isfinite(told), told, 180.0)
    numbers = evenly(range(item.num_frames), LOOKED_AT)
    for number in sorted(numbers, key=lambda n: (turns[n], n))[:FRAMES_OF_CLIP]:
        found = known[number] if known is not None and number < len(known) else None
        whole = found is not None and bool(np.isfinite(found).all())
        yield number, np.asarray(found, np.float32) if whole else None, float(turns[number]) + covered


def _box(media: ReleaseMedia, item: ItemRow, number: int) -> Floats | None:
    column = of_frames(media.rows.columns(item.shard, item.row, ("bbox",)), "bbox", item.kind == "clip")
    if column is None or number >= len(column):
        return None
    box = vectors(column, 4)[number]
    return np.asarray(box, np.float32) if np.isfinite(box).all() else None
