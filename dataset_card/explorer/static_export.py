"""The explorer as files that any web server shows: read-only, filtered in the browser, also as a Hugging Face Space.

Every file is what the live server would answer at the same address. The folder appears when it is whole.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from thermvision.annotations.errors import DamagedInputError, ThermVisionError, UsageError
from thermvision.curation.console import counted, human_bytes, printable
from thermvision.curation.store import PARTIAL, writing

from .as_json import json_bytes
from .exhibit import Exhibit
from .figure_files import figure, figure_files
from .page_files import INDEX, page_files
from .security import META_POLICY
from .side import Side
from .static_table import static_table

MARKER = "explorer.json"
FORMAT = "thermvision-explorer/1"
THREADS = 2
_MARKER_BYTES = 100_000
_HEAD = '<meta charset="utf-8">'


@dataclass(frozen=True)
class Exported:
    """What an export wrote: files and bytes, items, and what could not be read of the release."""

    out: Path
    files: int
    bytes: int
    items: int
    problems: tuple[str, ...]


def check_out(out: Path, roots: list[Path]) -> None:
    """Raise UsageError unless ``out`` is new, empty or an earlier export, and apart from the releases ``roots``."""
    for root in roots:
        if out.resolve().is_relative_to(root.resolve()) or root.resolve().is_relative_to(out.resolve()):
            raise UsageError(f"--static {out} and the release {root} lie in each other; choose another folder")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UsageError(f"--static {out} is no folder; allowed: a new one, an empty one, or an earlier export")
    if out.is_dir() and (foreign := not_of_export(out)):
        raise UsageError(
            f"--static {out} holds something else, such as {printable(foreign[0])}; allowed: a new or empty folder, or"
            " an earlier export and nothing beside it: export into a new one, and copy from there"
        )


def not_of_export(folder: Path) -> list[str]:
    """Names in a folder that `export` did not put there, and which replacing it would take away."""
    there = sorted(p.name for p in folder.iterdir())
    if not (folder / MARKER).is_file():
        return there
    try:
        with open(folder / MARKER, "rb") as file:
            value = json.loads(file.read(_MARKER_BYTES))
        ours = value["names"] if value["format"] == FORMAT else ()
        return [name for name in there if name not in ours]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return there


def chosen_keys(exhibit: Exhibit, limit: int | None) -> dict[str, list[int]]:
    """The items that are exported, by side: all, or ``limit`` evenly drawn, and those of the other side."""
    first = exhibit.sides["a"].catalogue
    keys = list(range(len(first)))
    if limit is not None and limit < len(keys):
        keys = sorted({int(n) for n in np.linspace(0, len(keys) - 1, limit)})
    found = {"a": keys}
    if "b" in exhibit.sides:
        other = exhibit.sides["b"].catalogue
        every = first.tables.items["item_id"].take(keys).to_pylist()
        limited = len(keys) < len(first)
        found["b"] = sorted(other.keys_of(every).values()) if limited else list(range(len(other)))
    return found


def estimate(exhibit: Exhibit, keys: Mapping[str, list[int]], heat: bool) -> int:
    """About how many bytes an export has: those of the shards, in proportion."""
    total = 0.0
    for letter, side in exhibit.sides.items():
        shards = side.source.release.shards if side.source is not None else ()
        wanted = [s.bytes for s in shards if s.config != "frames" and (heat or s.config != "radiometric")]
        total += sum(wanted) * len(keys[letter]) / max(len(side.catalogue), 1)
    return int(total)


def export(
    exhibit: Exhibit, out: Path, *, limit: int | None = None, heat: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> Exported:  # fmt: skip
    """Write the page and its data into ``out``, which is replaced as a whole when everything is there.

    Args:
        exhibit: made with ``static=True``.
        out: new, empty, or an earlier export.
        limit: so many items; None: all.
        heat: 16-bit frames too.
        tell: takes lines of progress.

    Raises:
        UsageError: ``out`` is something else, or the release is being built.
        OutputError: no room or no permission.
    """
    check_out(out, [side.root for side in exhibit.sides.values()])
    if any(side.source is None for side in exhibit.sides.values()):
        raise UsageError("a static page is of a finished release, and this one is being built; wait for its end")
    exhibit.wait()
    keys = chosen_keys(exhibit, limit)
    count = sum(map(len, keys.values()))
    tell(
        f"{counted(count, 'item')}, about {human_bytes(estimate(exhibit, keys, heat))}{'' if heat else ' without heat'}"
    )
    problems = [": ".join(filter(None, (p["path"], p["message"]))) for p in exhibit.about()["problems"]]
    with _replacing(out) as folder:
        _write_page(folder)
        for letter, side in exhibit.sides.items():
            _write_side(exhibit, side, keys, folder / "data" / letter, heat, problems, tell)
        _write_whole(exhibit, keys, folder, heat)
        files = [p for p in folder.rglob("*") if p.is_file()]
        total = sum(p.stat().st_size for p in files)
    return Exported(out, len(files), total, count, tuple(problems))


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its place when the block ends well, and is removed when it does not."""
    resolved = out.resolve()
    temporary = resolved.with_name(f".{resolved.name}.{secrets.token_hex(4)}{PARTIAL}")
    old = temporary.with_suffix(".old")
    with writing(out):
        resolved.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        try:
            yield temporary
            if resolved.exists():
                os.rename(resolved, old)
            os.rename(temporary, resolved)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            if old.exists() and not resolved.exists():
                os.rename(old, resolved)
            raise
        shutil.rmtree(old, ignore_errors=True)


def _write_page(folder: Path) -> None:
    for name, path in page_files().items():
        data = path.read_bytes()
        if name == INDEX:
            policy = f'<meta http-equiv="Content-Security-Policy" content="{META_POLICY}">'
            text = data.decode()
            if _HEAD not in text:
                raise DamagedInputError(f"{path.name} of the page has no {_HEAD}; install thermvision-db again")
            data = text.replace(_HEAD, f"{_HEAD}\n{policy}", 1).encode()
        _put(folder / name, data)


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _json(path: Path, value: Any, roots: Mapping[str, str]) -> None:
    text = json_bytes(value).decode()
    for root, name in roots.items():  # messages name the folder, which is nobody's business elsewhere
        text = text.replace(json.dumps(root, ensure_ascii=False)[1:-1], json.dumps(name, ensure_ascii=False)[1:-1])
    _put(path, text.encode())


def _roots(exhibit: Exhibit) -> dict[str, str]:
    found: dict[str, str] = {}
    for side in exhibit.sides.values():
        found |= {str(p): side.root.resolve().name for p in (side.root.resolve(), side.root) if p.is_absolute()}
    return found


def _write_side(
    exhibit: Exhibit, side: Side, keys: Mapping[str, list[int]], folder: Path, heat: bool, problems: list[str],
    tell: Callable[[str], None],
) -> None:  # fmt: skip
    table = static_table(side.catalogue, exhibit.generation, keys[side.letter])
    roots = _roots(exhibit)
    exported = {letter: set(k) for letter, k in keys.items()}
    _json(folder / "items.json", table, roots)
    covers = {item["key"]: {item["cover"]} for item in table["items"]}
    drawn = side.identity_map(wait=True)
    if drawn["state"] == "ready":
        drawn = drawn | {"points": [p for p in drawn["points"] if p["key"] in exported[side.letter]]}
        for point in drawn["points"]:
            covers[point["key"]].add(point.get("frame") or 0)
    _json(folder / "map.json", drawn, roots)

    def write(key: int) -> list[str]:
        return _write_item(exhibit, side, key, covers[key], exported, folder, heat, roots)

    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for done, found in enumerate(pool.map(write, keys[side.letter]), 1):
                problems += found
                if done % 100 == 0:
                    tell(f"{side.letter}: {done} of {len(keys[side.letter])} items")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write_item(
    exhibit: Exhibit, side: Side, key: int, covers: set[int], exported: Mapping[str, set[int]], folder: Path,
    heat: bool, roots: Mapping[str, str],
) -> list[str]:  # fmt: skip
    problems: list[str] = []
    try:
        record = exhibit.item(side.letter, key)
    except ThermVisionError as error:  # the page says so where the item would be
        return [str(error)]
    if record["other"] is not None and record["other"] not in exported["b" if side.letter == "a" else "a"]:
        record["other"] = None
    if not heat:
        record["heat"] = None
    problems += record["problems"]
    frames = record["heat"]["frames"] if record["heat"] is not None else []
    ending = Path(record["media"]["url"]).suffix
    pieces: list[tuple[str, Callable[[], bytes]]] = [
        (f"media/{key}{ending}", lambda: side.stored(key, ending[1:]).read()),
        *((f"thumb/{key}/{n}.jpg", lambda n=n: side.thumb(key, n).read()) for n in sorted(covers)),
        *((f"heat/{key}/{n}.bin", lambda n=n: side.heat(key, n).read()) for n in frames),
    ]
    for name, make in pieces:
        try:
            data = make()
        except ThermVisionError as error:
            if str(error) not in problems:
                problems.append(str(error))
            continue
        _put(folder / name, data)
    _json(folder / f"item/{key}.json", record, roots)
    return problems


def _write_whole(exhibit: Exhibit, keys: Mapping[str, list[int]], folder: Path, heat: bool) -> None:
    roots = _roots(exhibit)
    about = exhibit.about()
    for letter, side in exhibit.sides.items():
        told, total = about["sides"][letter], len(side.catalogue)
        if len(keys[letter]) < total:
            told |= _counts(side, keys[letter]) | {"of_items": total}
    about["has"]["heat"] = about["has"]["heat"] and heat
    decisions = exhibit.decisions()
    for said in decisions["decisions"]:
        if said["key"] is not None and said["key"] not in keys[said["side"]]:
            said["key"] = None
    for name, value in (
        ("about", about), ("decisions", decisions), ("findings", exhibit.findings()), ("figures", exhibit.figures()),
    ):  # fmt: skip
        _json(folder / "data" / f"{name}.json", value, roots)
    root = exhibit.sides["a"].root
    for name in figure_files(root):
        _put(folder / "data" / "figure" / name, figure(root, name).read())
    release = about["sides"]["a"]
    _put(folder / "README.md", _space_card(release).encode())
    names = sorted({MARKER, *(p.name for p in folder.iterdir())})
    marker = {
        "format": FORMAT, "release": release["name"], "version": release["version"], "digest": release["digest"],
        "names": names,
    }  # fmt: skip
    _json(folder / MARKER, marker, {})


def _counts(side: Side, keys: list[int]) -> dict[str, int]:
    tables = side.catalogue.tables
    configs = np.bincount(tables.codes["config"][keys], minlength=3)
    chosen = tables.items.take(keys)
    return {
        "items": len(keys), "clips": int(configs[0]), "stills": int(configs[1]), "scenes": int(configs[2]),
        "frames": sum(chosen["frames"].to_pylist()), "subjects": len(set(chosen["subject"].to_pylist()) - {None}),
    }  # fmt: skip


def _space_card(release: Mapping[str, Any]) -> str:
    """The README of a Hugging Face Space: what lies beside it is served as it is."""
    title = f"{release['name']} {release['version']}"
    head = {"title": title, "emoji": "🌡️", "colorFrom": "gray", "colorTo": "indigo", "sdk": "static",
            "app_file": INDEX, "pinned": False}  # fmt: skip
    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    size = f"{release['items']:,} items, {release['frames']:,} frames"
    return (
        f"---\n{text}---\n\nA read-only page of {title}: {size}, made by"
        " `thermvision view RELEASE --static FOLDER`.\n\n"
        "Any web server shows it: `python -m http.server` in this folder, then http://127.0.0.1:8000/.\n"
    )
