"""A real browser before a real server: releases of dolls, `thermvision view` on them, pages that may not complain."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .playing import bench
from .stage import WIDE, Served, serving

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--force-color-profile=srgb",
]  # fmt: skip
# as `thermvision check` writes them
FINDINGS = [
    {"code": code, "group": "sequence", "severity": "warning", "item_id": item, "path": "", "first": first,
     "last": last, "detail": detail}
    for code, item, first, last, detail in (
        ("disorder", "P_000000_S1", 8, 30, "1.20: in order it is above 1.45"),
        ("disorder", "P_000001_S1", 4, 9, "1.21: in order it is above 1.45"),
        ("identity-outlier", "P_000000_S2", 26, 26, "cosine 0.40"),
    )
]  # fmt: skip
REJECTED, RELABELLED = "P_000000_frontal_pose_000", "P_000001_frontal_pose_000"  # from version 1.0 to 1.1


def find_browser() -> str | None:
    """The browser to test with: `THERMVISION_CHROMIUM`, or the first of `BROWSERS` in PATH."""
    return os.environ.get("THERMVISION_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium; without one the test is skipped, but in CI it fails."""
    found = find_browser()
    if found is None:
        words = f"no browser: install chromium (looked for {', '.join(BROWSERS)}), or name one in THERMVISION_CHROMIUM"
        if os.environ.get("CI") or os.environ.get("THERMVISION_BROWSER") == "required":
            pytest.fail(words)
        pytest.skip(words)
    from playwright.sync_api import sync_playwright

    # of a module, not of the session: while it runs, no other test of this process could use asyncio
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield chromium
        chromium.close()


@dataclass
class Watched:
    """What pages complained of; ``allowed`` are patterns of what a test brings about on purpose."""

    seen: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def allow(self, *patterns: str) -> None:
        """Complaints that match one of ``patterns`` (searched for) are expected."""
        self.allowed += patterns

    def watch(self, page: Any) -> None:
        """Take down what ``page`` says on its console, throws, or fails to load."""
        page.on("console", lambda said: said.type in ("error", "warning") and self.seen.append(f"console: {said.text}"))
        page.on("pageerror", lambda error: self.seen.append(f"thrown: {error}"))
        page.on("requestfailed", self._failed)
        page.on("response", lambda r: r.status >= 400 and self.seen.append(f"{r.status}: {r.url}"))

    def _failed(self, request: Any) -> None:
        if "ERR_ABORTED" not in (request.failure or ""):  # a page that moves on lets go of what it asked for
            self.seen.append(f"not loaded: {request.url} {request.failure}")

    @property
    def complaints(self) -> list[str]:
        """What nobody expected."""
        return [said for said in self.seen if not any(re.search(pattern, said) for pattern in self.allowed)]


@pytest.fixture
def watched() -> Iterator[Watched]:
    """The complaints of every page of this test; an unexpected one fails it at its end."""
    found = Watched()
    yield found
    assert found.complaints == []


@pytest.fixture
def open_page(browser: Any, watched: Watched) -> Iterator[Callable[..., Any]]:
    """Opens an address in a context of its own: ``open_page(url, viewport=NARROW, color_scheme="dark", …)``."""
    with contextlib.ExitStack() as stack:

        def opened(url: str | None = None, **options: Any) -> Any:
            context = browser.new_context(**{"viewport": WIDE, "reduced_motion": "reduce", **options})
            stack.callback(context.close)
            context.set_default_timeout(1000 * float(os.environ.get("THERMVISION_PATIENCE", "15")))
            page = context.new_page()
            watched.watch(page)
            if url is not None:
                page.goto(url)
            return page

        yield opened


@pytest.fixture
def page(open_page: Callable[..., Any]) -> Any:
    """An empty page, 1440 by 900."""
    return open_page()


@dataclass(frozen=True)
class Releases:
    """Two versions of a release and what `check` found in the first."""

    first: Path
    second: Path
    findings: Path


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Releases:
    """Made once for all processes of a test run; tests read them only."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    made = Releases(shared / "dolls-1.0", shared / "dolls-1.1", shared / "dolls-findings")
    with open(shared / "dolls.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "dolls-made").exists():
            _make(made)
            (shared / "dolls-made").touch()
    return made


def _make(made: Releases) -> None:
    from fake_engine import waves_for_phantom

    from thermvision.generation.build import build_release, prepare

    from .acting_dolls import RECIPE

    for leftover in (made.first, made.second, made.findings):
        shutil.rmtree(leftover, ignore_errors=True)
    with waves_for_phantom(f"{__package__}.acting_dolls:ActingDollEngine"):
        build_release(prepare(RECIPE), made.first, quiet=True)
    _revise(made)
    made.findings.mkdir()
    (made.findings / "findings.json").write_text(json.dumps(FINDINGS))


def _revise(made: Releases) -> None:
    """Version 1.1: a still less, and another with glasses."""
    from thermvision.curation.reviews.apply import apply_decisions, plan_decisions
    from thermvision.curation.reviews.decisions import append, decision_of
    from thermvision.curation.sources import ReleaseSource

    source, table = ReleaseSource(made.first), made.second.with_name("dolls-decisions.jsonl")
    table.unlink(missing_ok=True)
    said = [
        decision_of(source, REJECTED, "reject", who="Ana", why="blurred"),
        decision_of(source, RELABELLED, "relabel", who="Ana", why="wears them", column="glasses", value="glasses"),
    ]
    append(table, said)
    apply_decisions(plan_decisions(made.first, table), made.second, quiet=True)


@pytest.fixture
def view(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts `thermvision view` for one test: ``view(release, "--who", "Ana")``."""
    with contextlib.ExitStack() as stack:
        yield lambda release, *options: stack.enter_context(serving(release, tmp_path / "decisions.jsonl", *options))


@pytest.fixture(scope="module")
def served(releases: Releases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Version 1.0, shown read-only to all tests of a module."""
    decisions = tmp_path_factory.mktemp("served") / "decisions.jsonl"
    with serving(releases.first, decisions, "--read-only") as running:
        yield running


@pytest.fixture
def player(page: Any, served: Served) -> Any:
    """A page with nothing but a player in it."""
    return bench(page, served)
