"""Everything the page shows of one item, as the JSON it asks for."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import pyarrow as pa

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.schema import ATTRIBUTES, CATEGORIES, EXPRESSIONS, GENDERS, SEQUENCES, class_name

from .frame_lists import frame_lists, rounded
from .item_row import ItemRow
from .media import ReleaseMedia
from .seen import SeenFinding

MAX_PROVENANCE = 2**20  # characters that are parsed; of a longer one the beginning is shown as text
_SHOWN_TEXT = 20_000
_MAX_EXACT = 2**53  # beyond it the page's numbers skip integers: seeds are told as text
_MAX_DEPTH = 50
_MAX_FACES = 200


class HasRows(Protocol):
    """What is needed of a catalogue."""

    def row(self, key: int) -> ItemRow:
        """The item of a key."""
        ...


def item_record(
    catalogue: HasRows,
    key: int,
    side: str,
    media: ReleaseMedia,
    *,
    place: str | None = None,
    live: bool = True,
    findings: Iterable[SeenFinding] = (),
    decisions: Sequence[Mapping[str, Any]] = (),
    other: int | None = None,
    changed_columns: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The item ``key`` of a side ("a" or "b") as plain values that JSON holds, without NaN.

    What of it cannot be read is told in ``problems``, and the rest is there all the same.

    Args:
        catalogue: of the release.
        key: of the item.
        side: "a" or "b".
        media: of the release.
        place: the release as it is typed in a command; None: no command is given.
        live: whether there is a server that decodes frames.
        findings: of the item.
        decisions: of the item, dumped.
        other: key of the same item on the other side.
        changed_columns: of the other side, where it differs.

    Raises:
        UsageError: there is no such item.
        DamagedInputError: its row cannot be read.
    """
    item = catalogue.row(key)
    table = media.rows.labels(item.shard, item.row)
    values = _plain_columns(table)
    frames, left_out = frame_lists(table, item.kind == "clip", item.num_frames)
    problems = [f"{', '.join(left_out)} of {item.num_frames} frames are too many to show"] if left_out else []
    provenance = read_provenance(values.get("provenance"))
    faces = None
    if item.kind == "scene":
        faces = scene_faces(values.get("faces"))
        frames["face_count"] = [len(faces)] if faces is not None else None
    return {
        "key": item.key,
        "id": item.item_id,
        "side": side,
        "config": item.config,
        "kind": item.kind,
        "subject": item.subject_id,
        "identity": values.get("identity"),
        "gender": named(GENDERS, values.get("gender")),
        "category": named(CATEGORIES, values.get("category")),
        "sequence": named(SEQUENCES, values.get("sequence")),
        "split": item.split,
        "fps": rounded(item.fps),
        "num_frames": item.num_frames,
        "width": item.width,
        "height": item.height,
        "shard": item.shard,
        "row": item.row,
        "media": _medium(item, side, media, live, problems),
        "attributes": {name: named(allowed, values.get(name)) for name, allowed in ATTRIBUTES.items()},
        "annotation_source": values.get("annotation_source"),
        "frames": frames,
        "faces": faces,
        "heat": _heat(item, side, media, problems),
        "provenance": provenance,
        "command": regenerate_command(place, item.item_id, provenance),
        "findings": [{k: v for k, v in asdict(f).items() if k != "item_id"} for f in findings],
        "decisions": list(decisions),
        "other": other,
        "changed_columns": None if changed_columns is None else list(changed_columns),
        "problems": problems,
    }


_PLAIN = (
    "identity", "gender", "category", "sequence", *ATTRIBUTES, "annotation_source", "provenance", "faces",
)  # fmt: skip


def _plain_columns(table: pa.Table) -> dict[str, Any]:
    names = [name for name in _PLAIN if name in table.column_names]
    return dict(table.select(names).to_pylist()[0]) if names else {}


def named(names: Sequence[str], index: Any) -> str | None:
    """The name of a class; None where it is null.

    >>> named(GENDERS, 1), named(GENDERS, None), named(GENDERS, 9)
    ('male', None, 'class 9')
    """
    return None if not isinstance(index, int) else class_name(names, index)


def _medium(item: ItemRow, side: str, media: ReleaseMedia, live: bool, problems: list[str]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "url": media_url(item, side),
        "type": "video/mp4" if item.kind == "clip" else "image/png",
        "bytes": None,
        "sha256": None,
        "codec": None,
        "full_range": None,
        "frame_url": f"data/{side}/frame/{item.key}/{{n}}.png" if live else None,
    }
    try:
        stored = media.stored(item)
    except DamagedInputError as error:
        problems.append(str(error))
        return told
    if stored.frames not in (0, item.num_frames):
        problems.append(
            f"{item.item_id} is said to have {item.num_frames} frames and its video has {stored.frames}; type:"
            f" thermvision check {media.rows.root}"
        )
    return told | {
        "type": stored.type,
        "bytes": len(stored.data),
        "sha256": stored.sha256,
        "codec": stored.codec,
        "full_range": stored.full_range,
    }


def media_url(item: ItemRow, side: str) -> str:
    """Where the page finds the file of an item, below its own address."""
    return f"data/{side}/media/{item.key}.{'mp4' if item.kind == 'clip' else 'png'}"


def _heat(item: ItemRow, side: str, media: ReleaseMedia, problems: list[str]) -> dict[str, Any] | None:
    try:
        heat = media.heat_facts(item)
    except DamagedInputError as error:
        problems.append(str(error))
        return None
    if heat is None:
        return None
    return {
        **asdict(heat),
        "frames": list(heat.frames),
        "ambient": rounded(heat.ambient),
        "url": f"data/{side}/heat/{item.key}/{{n}}.bin",
    }


def read_provenance(text: Any) -> Any:
    """How an item was made: an object where its provenance is one, else the beginning of the text; None without one.

    Integers that a page would round are told as text.

    >>> read_provenance('{"seed": 18446744073709551615, "x": NaN}'), read_provenance("{broken"), read_provenance("{}")
    ({'seed': '18446744073709551615', 'x': None}, '{broken', None)
    """
    if not isinstance(text, str) or not text.strip():
        return None
    if len(text) > MAX_PROVENANCE:
        return f"{text[:_SHOWN_TEXT]} … ({len(text)} characters)"
    try:
        value = json.loads(text, parse_constant=lambda name: None)
        return (_exact(value, 0) or None) if isinstance(value, dict) else text[:_SHOWN_TEXT]
    except (ValueError, RecursionError):
        return text[:_SHOWN_TEXT]


def _exact(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise RecursionError
    if isinstance(value, dict):
        return {name: _exact(v, depth + 1) for name, v in value.items()}
    if isinstance(value, list):
        return [_exact(v, depth + 1) for v in value]
    if isinstance(value, float) and value in (float("inf"), float("-inf")):  # 1e999
        return None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _MAX_EXACT:
        return str(value)
    return value


def regenerate_command(place: str | None, item_id: str, provenance: Any) -> str | None:
    """What is typed to render an item again; None where nothing says how it was made, as in an import.

    >>> regenerate_command("my release", "P_1", {"spec": {}, "engine": "phantom@1.3"})
    "thermvision regenerate 'my release' --clip P_1"
    """
    if place is None or not isinstance(provenance, dict) or not {"spec", "engine"} <= provenance.keys():
        return None
    # a terminal obeys control characters in what is pasted, whatever the quotes
    if not (place.isprintable() and item_id.isprintable()):
        return None
    where = f"./{place}" if place.startswith("-") else place
    option = [f"--clip={item_id}"] if item_id.startswith("-") else ["--clip", item_id]
    return shlex.join(["thermvision", "regenerate", where, *option])


def scene_faces(columns: Any) -> list[dict[str, Any]] | None:
    """The faces of a scene, from its struct of lists: who it is, and the annotations of the one frame.

    >>> scene_faces({"subject_id": ["P_1"], "gender": [1], "bbox": [[1, 2, 3, float("nan")]]})
    [{'subject_id': 'P_1', 'gender': 'male', 'bbox': [1, 2, 3, None]}]
    """
    if not isinstance(columns, dict):
        return None
    lists = {name: told for name, told in columns.items() if isinstance(told, list)}
    count = min(max((len(told) for told in lists.values()), default=0), _MAX_FACES)
    faces = []
    for n in range(count):
        face = {name: _tidy(told[n]) if n < len(told) else None for name, told in lists.items()}
        if "gender" in face:
            face["gender"] = named(GENDERS, face["gender"])
        if "expression" in face:
            face["expression"] = named(EXPRESSIONS, face["expression"])
        faces.append(face)
    return faces


def _tidy(value: Any) -> Any:
    if isinstance(value, list):
        return [_tidy(v) for v in value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value if value is None or isinstance(value, str) else str(value)
    return value if isinstance(value, int) else rounded(value)
