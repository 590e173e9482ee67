"""How quick the explorer is with a million frames: start, first paint, every filter, memory; beside pandas and pyarrow.

    python benchmarks/explore.py large                          # makes the release in large/ once; four minutes
    python benchmarks/explore.py large --frames 50000 --runs 1 --only server peers

The release is synthetic and cheap (see `large_release`): rows under the real schema, a few real MP4 and PNG files that
all items share, and 20,000 findings. Each run starts `thermvision view` as a user would, once for the page in headless
Chromium (playwright-core, Debian's /usr/bin/chromium) and once for the filters over HTTP, so that no answer is one that
was kept. "first paint" and "first thumbnails" count from navigation, which begins when the command prints the address
and the labels of frames are still being read; a filter in the page counts from the change of address until number of
items, number of frames and every thumbnail in view are those of the result. Files are in the page cache of the system.

The server's filters give a page of 120 items and the counts beside all values, as the page asks; "alone" is without
those, as the peers are asked, and one text search more. They are told on the clock and in processor time of all their
threads: the latter does not grow with what else the machine does, and two cores that are free need less on the clock.
The load of the machine is told as well.

Peers answer the same conditions on the same Parquet in this very run, and must find the same items and frames: pandas
with the columns in memory (whose loading is told too), and pyarrow.dataset and DuckDB, which read the files each time.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.dataset as ds  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from large_release import large_release  # noqa: E402

from thermvision.annotations.schema import ATTRIBUTES, CATEGORIES, EXPRESSIONS, GENDERS  # noqa: E402
from thermvision.curation.release import MANIFEST, read_release  # noqa: E402

RESULT = Path(__file__).with_suffix(".json")
CHROMIUM = "/usr/bin/chromium"
CHROMIUM_OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
FINDINGS = 20_000
CLASSES = {"gender": GENDERS, "category": CATEGORIES, "expression": EXPRESSIONS, **ATTRIBUTES}
# what is asked, as addresses have it; those of one name are alternatives
FILTERS = {
    "split": "split=test",
    "expression": "expression=smile",
    "gender and expression": "gender=female&expression=smile&expression=surprise",
    "yaw": "yaw_min=30",
    "a window of yaw and pitch": "yaw_min=-10&yaw_max=10&pitch_min=-5&pitch_max=5",
    "expression, yaw and roll": "expression=neutral&yaw_min=25&roll_max=0",
    "three attributes": "glasses=glasses&headwear=cap&beard=full",
    "category and yaw": "category=head_poses&yaw_min=20",
    "text": "q=P_0001",
    "one subject": "subject=P_000012",
}
OWN_FILTERS = {
    "finding": "finding=soft",
    "finding, expression and yaw": "finding=soft&expression=smile&yaw_min=0",
    "order by yaw": "sort=yaw&desc=1",
    "order by subject, yaw": "yaw_min=-5&sort=subject",
    "far down": "offset=9000",
}
Answer = tuple[int, int]  # items, frames


def write_findings(root: Path, path: Path) -> None:
    """A table as `thermvision check` writes it: 20,000 findings of stretches of frames, of four kinds."""
    rng = np.random.default_rng(3)
    clips = pa.concat_tables(
        pq.read_table(root / s.path, columns=["clip_id"]) for s in read_release(root).shards_of("video")
    )["clip_id"].to_pylist()
    first = rng.integers(0, 240, FINDINGS)
    table = {
        "code": rng.choice(["soft", "repeat", "jump", "label-off"], FINDINGS),
        "item_id": rng.choice(clips, FINDINGS),
        "path": np.full(FINDINGS, ""),
        "first": first,
        "last": first + rng.integers(0, 9, FINDINGS),
        "detail": np.full(FINDINGS, "drawn by lot"),
        "group": np.full(FINDINGS, "images"),
        "severity": np.full(FINDINGS, "warning"),
    }
    pq.write_table(pa.table(table), path)


@contextlib.contextmanager
def viewing(root: Path, findings: Path) -> Iterator[tuple[str, float, int]]:
    """A running `thermvision view`: its address, seconds until it listened, and the number of its process."""
    command = [sys.executable, "-m", "thermvision_db", "view", str(root), "--port", "0", "--read-only"]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        process = subprocess.Popen(
            [*command, "--findings", str(findings)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "THERMVISION_CACHE": cache},
        )  # fmt: skip
        try:
            assert process.stdout is not None
            address = re.search(r"http://\S+/", process.stdout.readline())
            took = time.perf_counter() - began
            if address is None:
                raise SystemExit("thermvision view printed no address; start it by hand to see why")
            yield address[0], took, process.pid
        finally:
            process.terminate()
            process.wait(30)


def memory(pid: int) -> dict[str, float]:
    """MiB that a process holds, and the most it held."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = {n: int(re.search(rf"{k}:\s+(\d+)", text)[1]) for k, n in (("VmRSS", "mib"), ("VmHWM", "most_mib"))}  # type: ignore[index]
    return {name: value / 1024 for name, value in found.items()}


def processor(pid: int) -> float:
    """Milliseconds of processor time that all threads of a process had."""
    return sum(int(p.read_text().split()[0]) for p in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e6


def over_http(root: Path, findings: Path) -> tuple[dict[str, float], dict[str, float], dict[str, Answer], Any]:
    """Milliseconds of every filter, page and counts together, on the clock and of the processor; what it found; and
    seconds of the start and memory."""
    spent, worked, answers = {}, {}, {}
    with viewing(root, findings) as (url, took, pid):
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc)

        def get(path: str) -> Any:
            connection.request("GET", f"{parts.path}{path}")
            return json.loads(connection.getresponse().read())

        began = time.perf_counter()
        while get("data/about.json")["loading"]:
            time.sleep(0.02)
        loaded = time.perf_counter() - began
        for name, asked in {"no filter": "", **FILTERS, **OWN_FILTERS}.items():
            began, before = time.perf_counter(), processor(pid)
            reply = get(f"data/a/items.json?limit=120&facets=1&{asked}")
            spent[name], worked[name] = 1000 * (time.perf_counter() - began), processor(pid) - before
            answers[name] = reply["total"], reply["frames"]
            if name in FILTERS and "q=" not in asked:  # a text that every id has: no answer that was kept
                before = processor(pid)
                get(f"data/a/items.json?limit=1&q=P_&{asked}")
                worked[f"{name}, alone"] = processor(pid) - before
        return spent, worked, answers, {"listening": took, "frames_loaded_after": loaded, **memory(pid)}


_SEEN = """
(() => {
  const look = () => {
    const shown = [...document.querySelectorAll('.tile')];
    const all = shown.length > 0 && shown.every((tile) => tile.querySelector('img')?.classList.contains('there'));
    window.seen = window.seen ?? (all ? performance.now() : undefined);
    if (window.seen === undefined) requestAnimationFrame(look);
  };
  document.addEventListener('DOMContentLoaded', look);
})()
"""
_FILTER = """
([hash, want]) => new Promise((done) => {
  const began = performance.now();
  let counted = null;
  location.hash = hash;
  const look = () => {
    const numbers = [...document.querySelectorAll('.tally b')].map((b) => b.textContent.replace(/\\D/g, '')).join(' ');
    const old = document.querySelector('#results.old');
    if (!old && numbers === want) {
      counted ??= performance.now() - began;
      const tiles = [...document.querySelectorAll('.tile')];
      const there = tiles.every((tile) => tile.querySelector('img')?.classList.contains('there'));
      if (there) return done([counted, performance.now() - began]);
    }
    if (performance.now() - began > 15000) return done([null, null]);
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})
"""


def in_browser(root: Path, findings: Path, expected: dict[str, Answer]) -> dict[str, Any]:
    """Milliseconds to first paint and first thumbnails, and of every filter until the grid shows its result."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.add_init_script(_SEEN)
        with viewing(root, findings) as (url, _, pid):
            page.goto(url)
            page.wait_for_function("() => window.seen !== undefined", timeout=60_000)
            paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            told: dict[str, Any] = {
                "first_paint_ms": paint,
                "first_thumbnails_ms": page.evaluate("window.seen"),
                "tiles": page.locator(".tile").count(),
                "filters": {},
                "counted": {},
            }
            page.wait_for_timeout(5000)  # the labels of frames are in by now
            shown_there = {**FILTERS, **{k: v for k, v in OWN_FILTERS.items() if "offset" not in v}}
            for name, asked in shown_there.items():
                counted, shown = page.evaluate(_FILTER, [asked, " ".join(map(str, expected[name]))])
                if shown is None:
                    raise SystemExit(f"the page did not show the result of {asked} in 15 seconds")
                told["filters"][name], told["counted"][name] = shown, counted
            told["browser"] = browser.version
            told |= memory(pid)
        browser.close()
    return told


def terms(asked: str) -> list[tuple[str, str, Any]]:
    """Column, comparison and value of each condition of an address."""
    found: list[tuple[str, str, Any]] = []
    for name, values in urllib.parse.parse_qs(asked).items():
        if name in CLASSES:
            found.append((name, "in", [CLASSES[name].index(v) for v in values]))
        elif name[-4:] in ("_min", "_max"):
            found.append((name[:-4], ">=" if name.endswith("_min") else "<=", float(values[0])))
        elif name == "q":
            found.append(("item_id", "has", values[0]))
        else:
            found.append(({"subject": "subject_id"}.get(name, name), "in", values))
    return found


def read_columns(root: Path) -> pd.DataFrame:
    """What the conditions are about, of every frame, as a person with pandas would have it."""
    parts = []
    for shard in read_release(root).shards_of("frames"):
        names = ["item_id", "frame_index", "subject_id", "gender", "category", "expression", "head_pose", *ATTRIBUTES]
        table = pq.read_table(root / shard.path, columns=names)
        poses = np.stack(table["head_pose"].to_numpy())
        part = table.drop_columns(["head_pose"]).to_pandas()
        part[["yaw", "pitch", "roll"]] = poses
        part["split"] = shard.split
        parts.append(part)
    whole = pd.concat(parts, ignore_index=True)
    return whole.astype({"item_id": "category", "subject_id": "category", "split": "category"})


def with_pandas(data: pd.DataFrame, asked: str) -> Answer:
    mask = np.ones(len(data), bool)
    for column, how, value in terms(asked):
        series = data[column]
        if how == "in":
            mask &= series.isin(value).to_numpy()
        elif how == "has":
            names = series.cat.categories
            mask &= names.str.lower().str.contains(value.lower(), regex=False)[series.cat.codes]
        else:
            mask &= (series >= value if how == ">=" else series <= value).to_numpy()
    hits = data[mask].groupby("item_id", observed=True)["frame_index"].agg(["size", "min"])
    return len(hits), int(hits["size"].sum())


def with_dataset(root: Path, asked: str) -> Answer:
    import pyarrow.compute as pc

    splits = {i.subject_id: i.split for i in read_release(root).identities}
    condition: Any = pc.scalar(True)
    for column, how, value in terms(asked):
        if column in ("yaw", "pitch", "roll"):
            angle = pc.list_element(ds.field("head_pose"), ("yaw", "pitch", "roll").index(column))
            part = angle >= value if how == ">=" else angle <= value
        elif how == "has":
            part = pc.match_substring(ds.field("item_id"), value, ignore_case=True)
        elif column == "split":
            part = ds.field("subject_id").isin([s for s, split in splits.items() if split in value])
        else:
            part = ds.field(column).isin(value)
        condition = condition & part
    found = (
        ds.dataset(root / "data" / "frames").scanner(columns=["item_id", "frame_index"], filter=condition).to_table()
    )
    hits = found.group_by("item_id").aggregate([("frame_index", "count"), ("frame_index", "min")])
    return hits.num_rows, sum(hits["frame_index_count"].to_pylist())


def with_duckdb(root: Path, asked: str) -> Answer:
    import duckdb

    parts, values = ["true"], []
    for column, how, value in terms(asked):
        if column in ("yaw", "pitch", "roll"):
            parts.append(f"head_pose[{('yaw', 'pitch', 'roll').index(column) + 1}] {how} ?")
        elif how == "has":
            parts.append("contains(lower(item_id), lower(?))")
        elif column == "split":
            parts.append("list_contains(?, regexp_extract(filename, '([a-z]+)-v[0-9.]+-[0-9]+.parquet$', 1))")
        else:
            parts.append(f"list_contains(?, {column})")
        values.append(value)
    text = (
        "SELECT count(*), coalesce(sum(n), 0) FROM (SELECT item_id, count(*) n, min(frame_index) FROM read_parquet(?,"
        f" filename = true) WHERE {' AND '.join(parts)} GROUP BY item_id)"
    )
    with duckdb.connect() as connection:
        items, frames = connection.execute(text, [f"{root}/data/frames/*.parquet", *values]).fetchall()[0]
    return items, int(frames)


def peers(root: Path, expected: dict[str, Answer], runs: int) -> dict[str, Any]:
    """Milliseconds of the same conditions with other packages, which must find the same."""
    began = time.perf_counter()
    data = read_columns(root)
    told: dict[str, Any] = {"pandas_loading_seconds": time.perf_counter() - began}
    told["pandas_mib"] = float(data.memory_usage(deep=True).sum() / 2**20)
    ways: dict[str, Callable[[str], Answer]] = {
        "pandas, columns in memory": lambda asked: with_pandas(data, asked),
        "pyarrow.dataset, from the files": lambda asked: with_dataset(root, asked),
        "DuckDB, from the files": lambda asked: with_duckdb(root, asked),
    }
    for way, ask in ways.items():
        spent: dict[str, list[float]] = {}
        worked: dict[str, list[float]] = {}
        for _ in range(runs):
            for name, asked in FILTERS.items():
                began, before = time.perf_counter(), time.process_time()
                found = ask(asked)
                spent.setdefault(name, []).append(1000 * (time.perf_counter() - began))
                worked.setdefault(name, []).append(1000 * (time.process_time() - before))
                if found != expected[name]:
                    raise SystemExit(f"{way} finds {found} with {asked}; the explorer {expected[name]}")
        told[way] = summary(spent)
        told[f"{way}, processor"] = summary(worked)
    return told


def summary(spent: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median and worst of each."""
    return {n: {"median": round(statistics.median(v), 1), "worst": round(max(v), 1)} for n, v in spent.items()}


def gather(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    return summary({name: [row[name] for row in rows] for name in rows[0]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the release, made when it is not there")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=("server", "page", "peers"), help="all when left out")
    parser.add_argument("--json", type=Path, default=RESULT)
    given = parser.parse_args()
    wanted = given.only or ["server", "page", "peers"]
    root, findings = given.out / f"release-{given.frames}", given.out / f"findings-{given.frames}.parquet"
    if not (root / MANIFEST).is_file():
        large_release(root, given.frames)
    if not findings.is_file():
        write_findings(root, findings)
    # figures of other runs stay, those of this one take their place
    told: dict[str, Any] = json.loads(given.json.read_text()) if given.only and given.json.is_file() else {}
    told |= about(root)
    busy = os.getloadavg()[0]
    if "server" in wanted:
        runs = [over_http(root, findings) for _ in range(given.runs)]
        if any(run[2] != runs[0][2] for run in runs):
            raise SystemExit("two runs found different items")
        told["found"] = {name: {"items": items, "frames": frames} for name, (items, frames) in runs[0][2].items()}
        told["server"], told["server_ms"] = gather([r[3] for r in runs]), gather([r[0] for r in runs])
        told["server_processor_ms"] = gather([r[1] for r in runs])
    if "found" not in told:
        raise SystemExit(f"{given.json} does not say what there is to find; leave --only out, or add server to it")
    expected = {name: (f["items"], f["frames"]) for name, f in told["found"].items()}
    if "page" in wanted:
        seen = [in_browser(root, findings, expected) for _ in range(given.runs)]
        told["browser"] = seen[0].pop("browser")
        told["page"] = gather([{k: v for k, v in s.items() if isinstance(v, int | float)} for s in seen])
        told["page_ms"] = gather([s["filters"] for s in seen])
        told["page_counted_ms"] = gather([s["counted"] for s in seen])
    if "peers" in wanted:
        told["peers_ms"] = peers(root, expected, min(given.runs, 3))
    # what else the machine does makes all of it slower: the load before and after
    told.setdefault("load", {}).update({part: [round(busy, 1), round(os.getloadavg()[0], 1)] for part in wanted})
    show(told)
    given.json.write_text(json.dumps(told, indent=1) + "\n")


def about(root: Path) -> dict[str, Any]:
    """The release, the machine and the packages."""
    manifest = read_release(root)
    return {
        "frames": sum(s.rows for s in manifest.shards_of("frames")),
        "items": sum(s.rows for c in ("video", "image") for s in manifest.shards_of(c)),
        "shards": len(manifest.shards),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("duckdb", "pyarrow", "pandas", "fastapi", "uvicorn")},
    }


def show(told: dict[str, Any]) -> None:
    """Tables of what was measured."""
    print(f"{told['frames']} frames, {told['items']} items, {told['shards']} shards, {told['cores']} cores")
    for name, row in {**told["server"], **told.get("page", {})}.items():
        print(f"  {name:32} median {row['median']:9.1f}  worst {row['worst']:9.1f}")
    columns = {"server": told["server_ms"], "processor": told["server_processor_ms"], "page": told.get("page_ms", {})}
    columns |= {k.split(",")[0]: v for k, v in told.get("peers_ms", {}).items() if k.endswith(", processor")}
    print(f"{'ms, median / worst':32}" + "".join(f"{name:>18}" for name in columns))
    for name in told["server_processor_ms"]:
        cells = (column.get(name) for column in columns.values())
        print(f"{name:32}" + "".join(f"{c['median']:9.0f} /{c['worst']:7.0f}" if c else f"{'':18}" for c in cells))


if __name__ == "__main__":
    main()
