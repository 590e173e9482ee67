"""One of the two releases that the explorer shows: its catalogue, its media, and what is decided of its items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thermvision.annotations.errors import ThermVisionError, UsageError
from thermvision.curation.reviews.decisions import Decision
from thermvision.curation.sources import ReleaseSource
from thermvision.curation.store import sha256_bytes

from .catalogue import CLOSING, Catalogue, open_catalogue
from .identity_map import IdentityMap
from .item_row import ItemRow
from .media import ReleaseMedia, no_frame
from .seen import SeenFinding


class MissingError(UsageError):
    """What was asked for is not there."""


class OutdatedError(UsageError):
    """What was asked for is of a state that has passed."""


@dataclass(frozen=True)
class Piece:
    """Bytes that are read when they are needed, their media type, and what changes when they do ("" is not known)."""

    read: Callable[[], bytes]
    media_type: str
    etag: str = ""


class Side:
    """One release of the two: ``letter`` is "a" or "b"."""

    def __init__(self, letter: str, root: Path) -> None:
        self.letter, self.root = letter, root
        self.catalogue: Catalogue = open_catalogue(root)
        self.media = ReleaseMedia(root)
        self.source: ReleaseSource | None = None
        self.decided: dict[str, tuple[int | None, list[Decision]]] = {}
        self.found: dict[str, list[SeenFinding]] = {}
        self._map: IdentityMap | None = None
        self.read_source()

    def close(self) -> None:
        """End what runs in the background."""
        if self._map is not None:
            self._map.stop()
        self.catalogue.close()
        if self._map is not None:
            self._map.close(CLOSING)

    def read_source(self) -> None:
        """Read the manifest again; None of a release that is being built."""
        try:
            self.source = ReleaseSource(self.root)
        except (ThermVisionError, OSError):
            self.source = None
        if self._map is not None:
            self._map.stop()
        self._map = IdentityMap(self.catalogue, self.digest)

    @property
    def digest(self) -> str | None:
        """The start of the digest of its rows, which decisions are on."""
        return None if self.source is None else self.source.digest

    def put_decisions(self, decisions: Sequence[Decision]) -> None:
        """Mark items by those of ``decisions`` that are on this release as it is."""
        said = [d for d in decisions if d.digest == self.digest]
        by_item: dict[str, list[Decision]] = {}
        for decision in said:
            by_item.setdefault(decision.item_id, []).append(decision)
        self.catalogue.put_decisions(said)
        keys = self.catalogue.keys_of(list(by_item))
        self.decided = {item: (keys.get(item), d) for item, d in by_item.items()}

    def put_findings(self, findings: Sequence[SeenFinding]) -> None:
        """Mark items by what was found in them."""
        found: dict[str, list[SeenFinding]] = {}
        for finding in findings:
            found.setdefault(finding.item_id, []).append(finding)
        self.catalogue.put_findings(findings)
        self.found = found

    def identity_map(self, wait: bool = False) -> dict[str, Any]:
        """Where identities lie in a plane, or how far that is; with ``wait`` when it is done."""
        assert self._map is not None
        return self._map.wait() if wait else self._map.state()

    def row(self, key: int, heat: bool = True) -> ItemRow:
        """The item ``key``; without ``heat`` it is there before it is known where 16-bit frames lie.

        Raises:
            MissingError: there is none.
        """
        try:
            return self.catalogue.row(key, heat)
        except UsageError as error:
            raise MissingError(str(error)) from error

    def stored(self, key: int, ending: str) -> Piece:
        """The file of an item as the release holds it; ``ending`` is that of its address.

        Raises:
            MissingError: there is none.
            DamagedInputError: it does not read, as all of these.
        """
        row = self.row(key, heat=False)
        if ending != ("mp4" if row.kind == "clip" else "png"):
            raise MissingError(f"{row.item_id[:100]!r} is a {row.kind}, which has no .{ending[:10]}")
        kept = self.media.stored(row)
        return Piece(lambda: kept.data, kept.type, self._etag(row, "media"))

    def frame(self, key: int, number: int) -> Piece:
        """A frame as PNG.

        Raises:
            MissingError: there is none.
        """
        row = self._with_frame(key, number)
        return Piece(lambda: self.media.frame_png(row, number), "image/png", self._etag(row, f"frame{number}"))

    def thumb(self, key: int, number: int) -> Piece:
        """A thumbnail of a frame as JPEG.

        Raises:
            MissingError: there is none.
        """
        row = self._with_frame(key, number)
        return Piece(lambda: self.media.thumb(row, number), "image/jpeg", self._etag(row, f"thumb{number}"))

    def heat(self, key: int, number: int) -> Piece:
        """The 16-bit picture of a frame as a zlib stream.

        Raises:
            MissingError: there is none.
        """
        row = self._with_frame(key, number, heat=True)
        try:
            data = self.media.heat(row, number)
        except UsageError as error:
            raise MissingError(str(error)) from error
        return Piece(lambda: data, "application/octet-stream", self._etag(row, f"heat{number}"))

    def _with_frame(self, key: int, number: int, heat: bool = False) -> ItemRow:
        row = self.row(key, heat)
        if number >= row.num_frames:
            raise MissingError(no_frame(row, number))
        return row

    def _etag(self, row: ItemRow, what: str) -> str:
        rows = self.media.rows
        at = row.radiometric if what.startswith("heat") else None
        heat = None if at is None else (rows.stamp(at[0]), at)
        return sha256_bytes(repr((rows.stamp(row.shard), heat, row.row, what)).encode())[:32]
