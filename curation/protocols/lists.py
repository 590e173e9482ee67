"""The fixed lists of the protocols: which frames are looked at, which pairs are compared, who is searched for.

Frames go by the names that evaluation gives them: ``clip/frame_0007``, or a still's id. Lists are CSV: equal releases
and options give equal bytes, so a list's SHA-256 says which experiment was run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import CATEGORIES, EXPRESSIONS, GENDERS, SEQUENCES

from ..evaluation.frames import evenly_spread
from ..release import Manifest
from .deals import UNKNOWN, unknown_people
from .items import class_names, frame_columns, recordings

if TYPE_CHECKING:
    import pandas as pd

PER_CLIP = 8  # frames of a clip, evenly spread
PER_EXPRESSION = 2  # frames of a clip for each expression it shows
PER_RECORDING = 4  # frames of one person and recording that are compared
MOST_FRAMES = 20_000  # of a list
MOST_PEOPLE = 500  # whose faces are compared
MOST_PAIRS = 300  # of a fold, of each kind, genuine and impostor: as many as a fold of LFW has
FOLDS = 10
MOST_CLIPS, MOST_CLIP_FRAMES = 100, 300  # tracking
TRAINING_FRAMES = 2_000  # labels of the training split that the trivial baselines see
_COLUMNS = (
    "item_id", "frame_index", "subject_id", "gender", "sequence", "category", "expression", "bbox", "landmarks",
    "head_pose",
)  # fmt: skip


def gather(root: Path, manifest: Manifest, split: str | None) -> pd.DataFrame:
    """The frames that lists are made of: evenly spread over each clip, and some of each expression in it.

    Columns: frame (name), item_id, subject_id, gender, recording, is_clip, expression (name or ""), has_box,
    has_points, yaw, pitch (degrees, NaN where not known), spread and acts (whether it was taken evenly, or for its
    expression), length (frames of the item).

    Raises:
        UsageError: the split has no labelled frame.
    """
    import pandas as pd

    pieces = [_pieces(table) for birth, table in frame_columns(root, manifest, _COLUMNS) if split in (None, birth)]
    if not pieces or not any(len(p) for p in pieces):
        if not manifest.shards_of("frames"):
            raise UsageError(f"{root} has no rows in `frames`, which lists are made of; build or import a release")
        there = ", ".join(sorted({s.split for s in manifest.shards_of("frames")})) or "none"
        what = "labelled frames" if split is None else f"labelled frames in split {split!r}"
        raise UsageError(f"{root} has no {what}; it offers: {there}; type: --split all")
    return pd.concat(pieces, ignore_index=True)


def _number(column: Any, place: int) -> Any:
    """One number of each list of an Arrow column as float64 (N,), NaN where there is none."""
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    return pc.list_element(column, place).to_pandas().to_numpy(dtype=np.float64, na_value=np.nan)


def _pieces(table: pa.Table) -> pd.DataFrame:
    import pandas as pd

    table = table.filter(table["bbox"].is_valid())  # of others nobody has said whether there is a face
    numbers = table["frame_index"].to_pandas().fillna(0).to_numpy().astype(int)
    ids = table["item_id"].to_pandas().astype(str).to_numpy()
    is_clip = class_names(table["sequence"], SEQUENCES) != ""
    is_clip |= class_names(table["category"], CATEGORIES) == ""
    expression = class_names(table["expression"], EXPRESSIONS)
    spread, acts, length = np.zeros(len(ids), bool), np.zeros(len(ids), bool), np.zeros(len(ids), int)
    order = np.lexsort((numbers, pd.factorize(ids)[0]))
    for rows in np.split(order, np.flatnonzero(ids[order][1:] != ids[order][:-1]) + 1):
        length[rows] = len(rows)
        spread[rows[evenly_spread(len(rows), PER_CLIP)]] = True
        for name in sorted(set(expression[rows]) - {""}):
            shown = rows[expression[rows] == name]
            # inside the run, where the expression is fullest; not its ends
            acts[shown[[(2 * i + 1) * len(shown) // (2 * PER_EXPRESSION) for i in range(PER_EXPRESSION)]]] = True
    known_points = table["landmarks"].is_valid().to_pandas().to_numpy()
    names = [f"{i}/frame_{n:04d}" if c else i for i, n, c in zip(ids, numbers, is_clip, strict=True)]
    frame = pd.DataFrame({
        "frame": names,
        "item_id": ids,
        "subject_id": table["subject_id"].to_pandas().astype(str),
        "gender": class_names(table["gender"], GENDERS),
        "recording": recordings(table),
        "is_clip": is_clip,
        "expression": expression,
        "has_box": np.isfinite(_number(table["bbox"], 0)),
        "has_points": known_points,
        "yaw": _number(table["head_pose"], 0),
        "pitch": _number(table["head_pose"], 1),
        "spread": spread,
        "acts": acts,
        "length": length,
    })  # fmt: skip
    return frame[frame["spread"] | frame["acts"]]


def _thinned(frame: pd.DataFrame, most: int = MOST_FRAMES) -> pd.DataFrame:
    return frame.iloc[evenly_spread(len(frame), most)] if len(frame) > most else frame


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    return _thinned(frame)[["frame", "subject_id"]]


def frame_lists(picks: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The lists of detection, landmarks, head-pose, expression and gender; one that would be empty is left out."""
    even, seen = picks[picks["spread"]], picks["has_box"]
    lists = {
        "detection": even,
        "landmarks": picks[picks["spread"] & seen & picks["has_points"]],
        "head-pose": picks[picks["spread"] & seen & picks["yaw"].notna()],
        "expression": picks[picks["acts"] & seen & (picks["expression"] != "")],
        "gender": picks[picks["spread"] & seen & (picks["gender"] != "")],
    }
    return {name: _plain(frame) for name, frame in lists.items() if len(frame)}


def scene_list(root: Path, manifest: Manifest, split: str | None) -> pd.DataFrame:
    """The scenes of a release: frame, and no subject."""
    import pandas as pd

    ids: list[str] = []
    for shard in manifest.shards_of("scenes", split):
        ids += pq.read_table(root / shard.path, columns=["image_id"])["image_id"].to_pylist()
    return _thinned(pd.DataFrame({"frame": ids, "subject_id": ""}))


def compared_frames(picks: pd.DataFrame) -> pd.DataFrame:
    """At most `PER_RECORDING` frames with a face of each recording of each person, and at most `MOST_PEOPLE` people."""
    import pandas as pd

    faces = picks[picks["spread"] & picks["has_box"] & (picks["recording"] != "")]
    people = sorted(faces["subject_id"].unique())
    if len(people) > MOST_PEOPLE:
        faces = faces[faces["subject_id"].isin([people[i] for i in evenly_spread(len(people), MOST_PEOPLE)])]
    parts = [
        part.iloc[evenly_spread(len(part), PER_RECORDING)]
        for _, part in faces.groupby(["subject_id", "recording"], sort=True)
    ]
    return pd.concat(parts, ignore_index=True) if parts else faces


def pair_list(picks: pd.DataFrame, seed: int) -> pd.DataFrame | None:
    """Pairs in folds of people: fold, kind, same, first, second and their subjects.

    Kind "same-sequence" pairs two frames of one recording, "cross-sequence" of two. Impostor pairs are of two people
    of one fold, as many as there are genuine ones, of the same recording for the first kind and half of them of one
    gender. No person is in two folds. None where fewer than four people can be compared.
    """
    import pandas as pd

    frames = compared_frames(picks)
    people = sorted(frames["subject_id"].unique())
    if len(people) < 4:
        return None
    # four people a fold, so that its impostors can be of one gender, unless that leaves one fold
    count = max(2, min(FOLDS, len(people) // 4))
    rng = np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=(1,)))
    gender = dict(zip(frames["subject_id"], frames["gender"], strict=True))
    # genders in turn, each in a drawn order, so that every fold has both where it can
    drawn = sorted((gender[people[i]], n, people[i]) for n, i in enumerate(rng.permutation(len(people))))
    fold_of = {subject: n % count for n, (_, _, subject) in enumerate(drawn)}
    rows: list[tuple[Any, ...]] = []
    for fold in range(count):
        part = frames[[fold_of[s] == fold for s in frames["subject_id"]]].reset_index(drop=True)
        for kind in ("same-sequence", "cross-sequence"):
            rows += [(fold, kind, *pair) for pair in _pairs_of(part, kind == "same-sequence", rng)]
    columns = ["fold", "kind", "same", "first", "second", "first_subject", "second_subject"]
    return pd.DataFrame(rows, columns=columns) if rows else None


def _pairs_of(part: pd.DataFrame, within: bool, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
    subject, recording, gender = (part[c].to_numpy() for c in ("subject_id", "recording", "gender"))
    i, j = np.triu_indices(len(part), 1)
    fits = (recording[i] == recording[j]) == within
    same = subject[i] == subject[j]
    genuine = _some(np.flatnonzero(same & fits), MOST_PAIRS, rng)
    alike = gender[i] == gender[j]
    half = len(genuine) // 2
    hard = _some(np.flatnonzero(~same & fits & alike), half, rng)
    others = np.setdiff1d(np.flatnonzero(~same & fits), hard)
    easy = _some(others, len(genuine) - len(hard), rng)
    names = part["frame"].to_numpy()
    for n in (*genuine, *np.sort(np.concatenate([hard, easy]))):
        yield int(same[n]), names[i[n]], names[j[n]], subject[i[n]], subject[j[n]]


def _some(numbers: Any, most: int, rng: np.random.Generator) -> Any:
    return numbers if len(numbers) <= most else np.sort(rng.choice(numbers, most, replace=False))


def search_lists(picks: pd.DataFrame, seed: int) -> dict[str, pd.DataFrame]:
    """The lists of closed-set and open-set: role, frame, subject_id.

    A person's first recording is the gallery, the others are probes; in the open set a part of the people is in no
    gallery and their frames have the role "unknown". Who has one recording only is left out.
    """
    frames = compared_frames(picks)
    counts = frames.groupby("subject_id")["recording"].transform("nunique")
    frames = frames[counts > 1]
    if frames["subject_id"].nunique() < 2:
        return {}
    first = frames.groupby("subject_id")["recording"].transform("min") == frames["recording"]
    closed = frames.assign(role=np.where(first, "gallery", "probe"))
    lists = {"closed-set": closed}
    people = frames.drop_duplicates("subject_id")
    if len(people) >= 3:
        unknown = unknown_people(_as_items(people), UNKNOWN, seed)
        lists["open-set"] = closed.assign(role=closed["role"].where(~closed["subject_id"].isin(unknown), "unknown"))
    return {name: frame[["role", "frame", "subject_id"]] for name, frame in lists.items()}


def _as_items(people: pd.DataFrame) -> pd.DataFrame:
    from thermvision.annotations.schema import ATTRIBUTES

    return people.assign(birth="", **dict.fromkeys(ATTRIBUTES, ""))


def clip_list(picks: pd.DataFrame) -> pd.DataFrame | None:
    """The clips of tracking: item_id, subject_id, frames (so many from the first on)."""
    clips = picks[picks["is_clip"]].groupby("item_id", sort=True).first()
    if clips.empty:
        return None
    chosen = _thinned(clips.reset_index(), MOST_CLIPS)
    return chosen.assign(frames=chosen["length"].clip(upper=MOST_CLIP_FRAMES))[["item_id", "subject_id", "frames"]]


def condition_list(root: Path, manifest: Manifest, picks: pd.DataFrame) -> pd.DataFrame | None:
    """The frames of robustness with what was around them; what the release does not say is empty.

    Columns: frame, subject_id, yaw, pitch (degrees), distance (m), ambient (°C), netd (mK), sensor (name of the preset)
    and transmission (exp(-extinction · distance), Beer-Lambert, 1 in clear air).
    """
    import pandas as pd

    frames = _thinned(picks[picks["spread"] & picks["has_box"]])
    known = _conditions(root, manifest, set(frames["item_id"]))
    rows = [known.get(item, {}) for item in frames["item_id"]]
    listed = pd.DataFrame({"frame": frames["frame"].to_numpy(), "subject_id": frames["subject_id"].to_numpy()})
    listed["yaw"], listed["pitch"] = frames["yaw"].round(3).to_numpy(), frames["pitch"].round(3).to_numpy()
    for name in ("distance", "ambient", "netd", "transmission"):
        listed[name] = [round(float(row[name]), 4) if row.get(name) is not None else np.nan for row in rows]
    listed["sensor"] = [row.get("sensor") or "" for row in rows]
    told = listed[["yaw", "distance", "ambient", "netd"]].notna().any(axis=None) or (listed["sensor"] != "").any()
    return listed if told else None


def _conditions(root: Path, manifest: Manifest, wanted: set[str]) -> dict[str, dict[str, Any]]:
    found = {}
    for config, key in (("video", "clip_id"), ("image", "image_id")):
        for shard in manifest.shards_of(config):
            table = pq.read_table(root / shard.path, columns=[key, "provenance"])
            for item, text in zip(table[key].to_pylist(), table["provenance"].to_pylist(), strict=True):
                if item in wanted:
                    found[item] = conditions_of(text)
    return found


def conditions_of(provenance: str | None) -> dict[str, Any]:
    """Distance, ambient, netd, sensor and transmission that the provenance of an item tells; others are not there.

    >>> conditions_of('{"resolved": {"parameters": {"distance": 2.0, "fog": 0.5}, "camera": {"netd_mk": 50.0}}}')
    {'distance': 2.0, 'netd': 50.0, 'transmission': 0.36787944117144233}
    """
    try:
        resolved = json.loads(provenance or "{}").get("resolved", {})
        parameters, camera = resolved.get("parameters", {}), resolved.get("camera", {})
        told = {name: _finite(parameters.get(name)) for name in ("distance", "ambient")}
        told["netd"] = _finite(camera.get("netd_mk"))
        sensor = parameters.get("preset")
        distance, extinction = told["distance"], _finite(parameters.get("fog"))
        if distance is not None and extinction is not None:
            told["transmission"] = math.exp(-(extinction + (_finite(parameters.get("smoke")) or 0.0)) * distance)
    except (ValueError, AttributeError):  # somebody else's provenance is whatever they wrote
        return {}
    named = {"sensor": sensor} if isinstance(sensor, str) else {}
    return {name: value for name, value in {**told, **named}.items() if value is not None}


def _finite(value: Any) -> float | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) else None


def make_lists(root: Path, manifest: Manifest, split: str | None, seed: int, wanted: Sequence[str]) -> dict[str, str]:
    """The CSV text of the lists of the ``wanted`` protocols that the release allows, and of "training".

    Args:
        root, manifest: a release.
        split: one of its splits; None: all people.
        seed: of pairs and of who is unknown.
        wanted: names of protocols.
    """
    import pandas as pd

    picks = gather(root, manifest, split)
    lists: dict[str, pd.DataFrame | None] = {**frame_lists(picks), **search_lists(picks, seed)}
    if "detection" in wanted and manifest.shards_of("scenes", split):
        scenes = scene_list(root, manifest, split)
        lists["detection"] = pd.concat([f for f in (lists.get("detection"), scenes) if f is not None])
    makers = {
        "verification": lambda: pair_list(picks, seed),
        "tracking": lambda: clip_list(picks),
        "robustness": lambda: condition_list(root, manifest, picks),
    }
    lists |= {name: make() for name, make in makers.items() if name in wanted}
    if split not in (None, "train") and manifest.shards_of("frames", "train"):
        train = gather(root, manifest, "train")
        lists["training"] = _thinned(train[train["spread"] & train["has_box"]], TRAINING_FRAMES)[
            ["frame", "subject_id"]
        ]
    chosen = {n: f for n, f in lists.items() if f is not None and len(f) and n in (*wanted, "training")}
    return {name: frame.to_csv(index=False, lineterminator="\n") for name, frame in chosen.items()}
