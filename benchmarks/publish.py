"""What publishing costs and survives: bytes of an extension beside its peers', 200 disturbed publishes, `verify`.

    python benchmarks/publish.py
    python benchmarks/publish.py release --also-verify another_release --publishes 200

Everything runs against the test Hub of `tests/hub` on this machine, which receives large files as plain LFS objects:
the chunk store of the real Hub would spare some of what the peers send again.

growth   A release (or a small one that is built for this) is cut into a version of its first people and one of all of
         them, 20 % more. The second is published on top of the first. Bytes are bodies of requests as the Hub received
         them, everything included. Peers: `push_to_hub` of every config, and `upload_folder` into a fresh repository
         and on top of the first version.
faults   Publishes of tiny releases, each struck by a random fault or SIGKILL at a random request and run again until it
         ends, while a reader looks on; see `tests/hub/campaign.py`. Every second fault strikes one of the requests that
         change something, the others any.
verify   `verify` beside `sha256sum` of the same files in turn, the files in the cache of the system; the best round.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hub import Account, Hub, child_environment, pointed_at  # noqa: E402
from hub.campaign import run_campaign  # noqa: E402
from hub.divided import divide  # noqa: E402
from hub.imitated import imitate  # noqa: E402

from thermvision.annotations.schema import CATEGORIES  # noqa: E402
from thermvision.curation.contents import listed, release_files  # noqa: E402
from thermvision.curation.release import MANIFEST, Manifest, read_release  # noqa: E402

RESULT = Path(__file__).with_suffix(".json")
RECIPE = """
name = "{name}"
version = "1.0"
seed = 7

[subjects]
female = {half}
male = {half}

[stills]
size = {size}
frontal_pose = 2
beard = {{ count = 1, gender = "male" }}

[clips]
size = {size}
head_pose = {frames}
expression = {frames}

[radiometric]
clip_every = 3
"""
VERSIONS = 5  # a repository of the faults


def thermvision(*arguments: str | Path, **environment: str) -> str:
    """Run the command and return what it printed."""
    command = [sys.executable, "-m", "thermvision_db", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    if run.returncode:
        raise SystemExit(f"{' '.join(command[2:])} ended with {run.returncode}: {run.stdout}{run.stderr}")
    return run.stdout


def built(folder: Path, name: str, people: int, size: int, frames: int) -> Path:
    """A small release by phantom."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / f"{name}.toml"
    recipe.write_text(RECIPE.format(name=name, half=people // 2, size=size, frames=frames))
    thermvision("build", recipe, "--out", folder / name, "--quiet")
    return folder / name


def received(hub: Hub) -> dict[str, int]:
    """Bytes of the bodies that the Hub received since `forget`, by kind, and those of the heads of requests."""
    figures = hub.figures()
    total = {kind: counts["received"] for kind, counts in figures.items() if counts["received"]}
    heads = sum(counts["head"] for counts in figures.values())
    return {"all": sum(total.values()), "heads_of_requests": heads, "requests": len(hub.requests), **total}


def growth(base: Path, folder: Path) -> dict[str, Any]:
    """Bytes that a version with 20 % more people costs, ours and the peers'."""
    roots = divide(base, folder / "divided")
    for root in roots:
        thermvision("card", root)
    before, after = (read_release(root) for root in roots)
    files = {f.path: f for f in release_files(roots[1], after)}
    old = {**listed(before), MANIFEST: ""}
    shards = {s.path for s in after.shards}
    new = {path: f.size for path, f in files.items() if old.get(path) != f.sha256}
    of_shards = sum(size for path, size in new.items() if path in shards)
    pictures = sum(size for path, size in new.items() if path.startswith("preview/"))
    told: dict[str, Any] = {
        "people": [len(before.identities), len(after.identities)],
        "bytes_of_the_version_before": sum(f.size for f in release_files(roots[0], before)),
        "bytes_of_the_version": sum(f.size for f in files.values()),
        "bytes_of_new_shards": of_shards,
        "bytes_of_new_pictures": pictures,
        "bytes_of_manifest_files": sum(new.values()) - of_shards - pictures,
        "bytes_needed": sum(new.values()),
    }
    with Hub(folder / "hub", accounts={"hf_test": Account("tester")}) as hub:
        environment = child_environment(hub.url, folder / "home")

        def counted(name: str, act: Callable[..., object], *arguments: Any, **more: str) -> None:
            hub.forget()
            began = time.monotonic()
            act(*arguments, **more)
            sent = received(hub)
            told[name] = {
                "seconds": round(time.monotonic() - began, 1),
                "over_needed": round(sent["all"] / told["bytes_needed"] - 1, 5),
                **sent,
            }

        for root in roots:
            counted(
                f"publish {root.name}", thermvision, "publish", root, "--repo", "org/ours", "--quiet", **environment
            )
        with pointed_at(hub.url, folder / "home"):
            for root, manifest in zip(roots, (before, after), strict=True):
                counted(f"push_to_hub {root.name}", pushed, root, manifest, folder)
            for root in roots:
                counted(f"upload_folder {root.name}", uploaded, hub, root, "org/folder")
            counted("upload_folder 1.1, fresh repository", uploaded, hub, roots[1], "org/fresh")
    return told


def pushed(root: Path, manifest: Manifest, folder: Path) -> None:
    """Every config by `push_to_hub`; `image` is the union of the categories, whose rows go up once."""
    import datasets

    have = {s.config for s in manifest.shards}
    for config in [c for c in manifest.configs if c in have or c in CATEGORIES]:
        rows = datasets.load_dataset(str(root), config, cache_dir=str(folder / "cache" / root.name))
        rows.push_to_hub("org/pushed", config)


def uploaded(hub: Hub, root: Path, repo: str) -> None:
    """The folder as it is, by `upload_folder`."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.url, token="hf_test")
    api.create_repo(repo, repo_type="dataset", exist_ok=True)
    api.upload_folder(repo_id=repo, repo_type="dataset", folder_path=root)


@contextmanager
def measured(times: list[tuple[float, float]], who: int) -> Iterator[None]:
    """Append wall and CPU seconds of the block; ``who`` as in `resource.getrusage`."""
    before, began = resource.getrusage(who), time.perf_counter()
    yield
    wall, after = time.perf_counter() - began, resource.getrusage(who)
    times.append((wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))


def verify(root: Path, rounds: int) -> dict[str, Any]:
    """Seconds of `verify_release`, the command and `sha256sum` over the files of a release, in turn."""
    from thermvision.curation.verify import verify_release

    manifest = read_release(root)
    digests = listed(manifest)
    paths = [root / path for path in digests]
    total = sum(path.stat().st_size for path in paths)
    names = ("sha256sum", "verify_release", "thermvision verify")
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for number in range(rounds + 1):  # the first fills the caches
        with measured(times["sha256sum"], resource.RUSAGE_CHILDREN):
            lines = subprocess.run(["sha256sum", *paths], capture_output=True, text=True, check=True).stdout
        assert [line.split()[0] for line in lines.splitlines()] == list(digests.values())
        with measured(times["verify_release"], resource.RUSAGE_SELF):
            assert verify_release(root) == []
        with measured(times["thermvision verify"], resource.RUSAGE_CHILDREN):
            thermvision("verify", root, "--quiet")
        if not number:
            times = {name: [] for name in names}
    told: dict[str, Any] = {"people": len(manifest.identities), "files": len(paths), "bytes": total}
    best = {name: [min(t[n] for t in times[name]) for n in (0, 1)] for name in names}
    for name in names:
        wall, cpu = best[name]
        told[name] = {
            "seconds": round(wall, 3),
            "cpu_seconds": round(cpu, 3),
            "speed_beside_sha256sum": round(best["sha256sum"][0] / wall, 3),
            "beside_it_by_cpu": round(best["sha256sum"][1] / cpu, 3),
        }
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path, nargs="?", help="what grows by 20 %%; without it a small one is built")
    parser.add_argument("--also-verify", type=Path, nargs="*", default=[], help="further releases to verify")
    parser.add_argument("--publishes", type=int, default=200)
    parser.add_argument("--lanes", type=int, default=2, help="publishes under way at a time, in their repositories")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="of verify")
    parser.add_argument("--only", nargs="*", choices=("growth", "faults", "verify"), help="all when left out")
    parser.add_argument("--work", type=Path, help="folder to work in, kept; else a temporary one")
    parser.add_argument("--json", type=Path, default=RESULT)
    given = parser.parse_args()
    wanted = given.only or ["growth", "faults", "verify"]
    # figures of other runs stay, those of this one take their place
    told: dict[str, Any] = json.loads(given.json.read_text()) if given.only and given.json.is_file() else {}
    with tempfile.TemporaryDirectory(prefix="thermvision-publish-") as temporary:
        folder = given.work or Path(temporary)
        base = given.release
        if base is None and wanted != ["faults"]:
            base = built(folder, "small", 12, 128, 30)
        for name in wanted:
            began = time.monotonic()
            if name == "growth":
                told[name] = growth(base, folder / "growth")
            elif name == "verify":
                told[name] = {read_release(r).name: verify(r, given.rounds) for r in (base, *given.also_verify)}
            else:
                tiny = built(folder / "faults", "tiny", 4, 64, 6)
                releases = imitate(tiny, folder / "faults" / "versions", VERSIONS)
                told[name] = run_campaign(
                    releases, folder / "faults", given.publishes, lanes=given.lanes, seed=given.seed
                )
            told[name]["seconds"] = round(time.monotonic() - began)
            print(f"{name}\n{json.dumps(told[name], indent=1)}", flush=True)
            given.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
