"""A player by itself on an empty page of a real server: made, fed with records, and asked for its pixels."""

from __future__ import annotations

import base64
import io
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from .stage import Served

BENCH = (
    '<!doctype html><html lang="en"><title>bench</title><link rel="icon" href="icon.svg">'
    '<link rel="stylesheet" href="player.css"><body><div id="host"></div></body></html>'
)
_START = """async (name) => {
  const {createPlayer} = await import('./player.js');
  const {createCompare} = await import('./compare.js');
  const about = await (await fetch('data/about.json')).json();
  const host = document.querySelector('#host');
  host.style.width = '640px';
  Object.assign(window, {states: [], shown: [], warm: [], boxes: []});
  const calls = {palettes: about.palettes, onFrame: (n) => shown.push([n, seen()]), onState: (s) => states.push(s),
    onTemperature: (t) => warm.push(t), onBox: (b) => boxes.push(b)};
  window.seen = () => [...host.querySelectorAll('[data-frame]')].map((e) => Number(e.dataset.frame));
  window.item = async (key) => (await fetch(`data/a/item/${key}.json`)).json();
  window.player = (name === 'compare' ? createCompare : createPlayer)(host, calls);
}"""
_PIXELS = """(place) => {
  const canvas = document.querySelectorAll('canvas.frame, canvas.difference')[place];
  const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let text = '';
  for (let i = 0; i < data.length; i += 8192) text += String.fromCharCode(...data.subarray(i, i + 8192));
  return [canvas.height, canvas.width, btoa(text)];
}"""


def bench(page: Any, served: Served, name: str = "player") -> Any:
    """``page`` with `window.player`, a player or a comparison, under the policy that the real page has."""
    with urllib.request.urlopen(served.url) as answer:
        policy = answer.headers["content-security-policy"]
    headers = {"content-security-policy": policy, "content-type": "text/html"}
    page.route(served.url + "bench.html", lambda route: route.fulfill(body=BENCH, headers=headers))
    page.goto(served.url + "bench.html")
    page.evaluate(_START, name)
    return page


def pixels(page: Any, place: int = 0) -> NDArray[np.int64]:
    """Red, green, blue (H, W, 3) of the canvas."""
    height, width, text = page.evaluate(_PIXELS, place)
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3].astype(np.int64)


def open_record(page: Any, record: dict[str, Any], frame: int = 0) -> None:
    """Show a record, until its first frame, or what is wrong with it, is there."""
    page.evaluate("([record, frame]) => player.open('a', record, {frame})", [record, frame])


def serve(page: Any, served: Served, path: str, body: bytes, kind: str = "application/octet-stream") -> None:
    """Answer ``path`` with ``body``."""
    page.route(served.url + path, lambda route: route.fulfill(body=body, headers={"content-type": kind}))


def drifting(count: int, height: int, width: int) -> NDArray[np.uint8]:
    """Frames (N, H, W) of a rough texture that moves: each is nearest to itself."""
    rng = np.random.default_rng(3)
    coarse = np.kron(rng.integers(20, 236, (height // 8 + 1, (width + 3 * count) // 8 + 1)), np.ones((8, 8)))
    return np.stack([coarse[:height, 3 * n : 3 * n + width] for n in range(count)]).astype(np.uint8)


def encoded(frames: NDArray[np.uint8], fps: Fraction, full: bool, codec: str = "libx264", **options: str) -> bytes:
    """MP4 of gray frames as other people's encoders make it: long groups of pictures, B-frames, an edit list."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(codec, fps, options={"g": "250", **options})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:], "yuv420p"
        stream.codec_context.color_range = 2 if full else 1
        for n, gray in enumerate(frames):
            planes = np.concatenate([gray.ravel(), np.full(gray.size // 2, 128, np.uint8)]).reshape(-1, gray.shape[1])
            frame = av.VideoFrame.from_ndarray(planes, "yuv420p")
            frame.pts, frame.time_base, frame.color_range = n, 1 / fps, 2 if full else 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def clip_record(count: int, height: int, width: int, fps: float, **more: Any) -> dict[str, Any]:
    """The record of a clip at `data/a/media/900.mp4` with a box that tells the frame's number."""
    media = {"url": "data/a/media/900.mp4", "type": "video/mp4", "codec": "h264", "full_range": True, "frame_url": None}
    frames = {"bbox": [[n, n, 20, 20] for n in range(count)]}
    size = {"num_frames": count, "height": height, "width": width, "fps": fps}
    return {"id": "made", "kind": "clip", **size, "media": media | more, "frames": frames, "faces": None, "heat": None}


def heat_bytes(counts: NDArray[np.uint16]) -> bytes:
    """Counts (H, W) as the server sends them."""
    return zlib.compress(counts.astype("<u2").tobytes())


def nearest(frame: NDArray[Any], frames: Sequence[NDArray[Any]]) -> int:
    """Number of the frame that a frame differs least from."""
    return int(np.argmin([np.abs(frame - other).mean() for other in np.asarray(frames, np.int64)]))


def counted_addresses(page: Any) -> Callable[[], int]:
    """How many object URLs are alive, from now on."""
    page.evaluate("""() => {
      window.alive = 0;
      const [make, drop] = [URL.createObjectURL, URL.revokeObjectURL];
      URL.createObjectURL = (blob) => (window.alive++, make.call(URL, blob));
      URL.revokeObjectURL = (url) => (window.alive--, drop.call(URL, url));
    }""")
    return lambda: int(page.evaluate("window.alive"))
