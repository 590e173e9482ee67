"""Point the real clients at a test Hub: child processes by their environment, this process by its settings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def child_environment(url: str, home: Path, token: str = "hf_test") -> dict[str, str]:
    """Environment variables for a process whose clients shall talk to the Hub at ``url``; add them to its own."""
    return {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_TOKEN": token,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",  # the chunk store of the real Hub is not imitated
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    }


@contextlib.contextmanager
def pointed_at(url: str, home: Path, token: str = "hf_test") -> Iterator[None]:
    """The clients of this process talk to the Hub at ``url`` and keep their caches below ``home``.

    Their libraries read the environment once, when they are imported, so their settings are changed as well. Uploads
    warn: mark tests with ``filterwarnings("ignore:Use 'content=:DeprecationWarning")``.
    """
    from unittest import mock

    import datasets.config
    import huggingface_hub.constants as hub
    from huggingface_hub import hf_file_system
    from huggingface_hub.utils import close_session

    cache = home / "hub"
    changes: list[tuple[Any, dict[str, Any]]] = [
        (hub, {"ENDPOINT": url, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True, "HF_HUB_CACHE": str(cache)}),
        (hub, {"HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}"}),
        (hub, {"HF_TOKEN_PATH": str(home / "token")}),
        (datasets.config, {"HF_ENDPOINT": url, "HF_HUB_OFFLINE": False, "HF_DATASETS_OFFLINE": False}),
        (datasets.config, {"HUB_DATASETS_URL": url + "/datasets/{repo_id}/resolve/{revision}/{path}"}),
        (datasets.config, {"HF_DATASETS_CACHE": home / "datasets", "HF_UPDATE_DOWNLOAD_COUNTS": False}),
    ]
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict("os.environ", child_environment(url, home, token)))
        for module, settings in changes:
            stack.enter_context(mock.patch.multiple(module, **settings))
        stack.callback(hf_file_system.HfFileSystem.clear_instance_cache)
        stack.callback(close_session)
        stack.enter_context(_no_bars())
        close_session()  # one made before refuses to leave the machine
        hf_file_system.HfFileSystem.clear_instance_cache()
        yield


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    import datasets
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    switches = [
        (are_progress_bars_disabled(), disable_progress_bars, enable_progress_bars),
        (not datasets.is_progress_bar_enabled(), datasets.disable_progress_bars, datasets.enable_progress_bars),
    ]
    for off, disable, _ in switches:
        if not off:
            disable()
    try:
        yield
    finally:
        for off, _, enable in switches:
            if not off:
                enable()
