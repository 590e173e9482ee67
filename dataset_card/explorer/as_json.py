"""JSON as browsers read it: UTF-8 without NaN, whatever a release holds."""

from __future__ import annotations

import json
import math
from typing import Any


def json_bytes(value: Any) -> bytes:
    r"""``value`` as JSON; NaN and infinite become null, and what is no character a question mark.

    >>> json_bytes({"a": float("nan"), "b": ["\ud800", "ä"]}).decode()
    '{"a":null,"b":["?","ä"]}'
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:  # seldom, and looking at every number is slow
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
