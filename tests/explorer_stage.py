"""What tests of the explorer's server share: a release full of hostile text, a real server on a free port, requests."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
from conftest import ZEROS, clip_row, face_annotation, finish_release, frame_rows, oval_face, still_row

from thermvision.annotations.schema import EXPRESSIONS
from thermvision.curation.pack import write_shard
from thermvision.dataset_card.explorer.exhibit import Exhibit
from thermvision.dataset_card.explorer.reviewing import Reviewing
from thermvision.dataset_card.explorer.server import listen, make_server

TOKEN = "token-of-the-tests"
SIZE = 64
SCRIPT = "<script>window.__pwned = 1</script>"
HOSTILE = (
    SCRIPT, "'; DROP TABLE items; --", "../../../etc/passwd", "%2e%2e%2f", 'x" onerror="alert(1)', "é漢😀\u202egnp.exe",
    "a\x00b", "P" * 190, "__proto__",
)  # fmt: skip


def scene_row(subjects: list[str], identities: list[int]) -> dict[str, Any]:
    """A still of two faces: one turned far to the left and talking, one to the right and smiling."""
    faces = [face_annotation(SIZE, 0, True, yaw=y, expression=e) for y, e in ((-50.0, "talk"), (33.0, "smile"))]
    labels: dict[str, Any] = {"subject_id": subjects, "identity": identities, "gender": [0, 1]}
    for name in ("bbox", "bbox_score", "landmarks", "landmark_state", "head_pose", "eye_openness", "mouth_openness"):
        labels[name] = [v.tolist() if hasattr(v := getattr(f, name), "tolist") else v for f in faces]
    labels["expression"] = [EXPRESSIONS.index(str(f.expression)) for f in faces]
    image = {"bytes": cv2.imencode(".png", oval_face(SIZE)[0])[1].tobytes(), "path": "s.png"}
    scene: dict[str, Any] = {
        "image": image,
        "image_id": "scene_0",
        "width": SIZE,
        "height": SIZE,
        "face_count": 2,
        "faces": labels,
    }
    return scene | {"annotation_source": "ground_truth", "provenance": "{}"}


def hostile_release(root: Path) -> Path:
    """Two clips, a still for each of `HOSTILE` as its id, and a scene; prompts and sources are hostile too."""
    subjects = ["P_000000", SCRIPT[:90]]
    clips, frames = [], []
    for number, subject in enumerate(subjects):
        faces = [
            face_annotation(SIZE, 0, k != 4, yaw=9.3 * k - 20 * number, expression=EXPRESSIONS[k % 3])
            for k in range(12)
        ]
        clips.append(clip_row(f"clip_{number}", subject, subjects, "head_pose", faces, SIZE))
        frames += frame_rows(clips[-1], faces)
    stills = [still_row(name, subjects[n % 2], subjects, "mix", SIZE) for n, name in enumerate(HOSTILE)]
    for number, still in enumerate(stills):
        still |= {"gender": None if number == 0 else number % 2, "glasses": number % 2}
        still["annotation_source"] = None if number == 4 else HOSTILE[number]
        still["provenance"] = json.dumps({"engine": "flux@1", "spec": {"prompt": HOSTILE[number]}})
        frames += frame_rows(still, [face_annotation(SIZE, 0, True, yaw=float(number))])
    scene = scene_row(subjects, [0, 1])
    tables = [("video", clips), ("mix", stills), ("scenes", [scene]), ("frames", frames)]
    shards = [write_shard(root, name, "train", "1.0", 0, rows, subjects, ZEROS) for name, rows in tables]
    return finish_release(root, "build", subjects, shards)


@dataclass
class Answer:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Served:
    """A server that runs, for requests as a page sends them."""

    port: int
    exhibit: Exhibit
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """What a page's Host header says."""
        return f"127.0.0.1:{self.port}"

    def raw(self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """A request as it is; ``target`` is sent as it stands."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection._validate_path = lambda url: None  # type: ignore[attr-defined, method-assign]
        with contextlib.closing(connection):
            connection.request(method, target, body, headers or {})
            found = connection.getresponse()
            return Answer(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        """GET of a path behind the token."""
        return self.raw("GET", f"/{TOKEN}/{path}", headers=headers)

    def post(self, value: Any, headers: dict[str, str] | None = None) -> Answer:
        """POST of a decision as the page sends it."""
        own = {"Origin": f"http://{self.host}", "Content-Type": "application/json"}
        body = value if isinstance(value, (bytes, str)) else json.dumps(value)
        return self.raw("POST", f"/{TOKEN}/data/decisions.json", body, {**own, **(headers or {})})

    def send(self, data: bytes, wait: float = 5.0) -> bytes:
        """Bytes over a connection of their own, and what comes back until it is closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as connection:
            connection.sendall(data)
            found = b""
            with contextlib.suppress(OSError):
                while piece := connection.recv(65536):
                    found += piece
            return found


@contextlib.contextmanager
def serving(
    root: Path, table: Path, *, who: str | None = None, read_only: bool = False, against: Path | None = None,
    findings: Sequence[Path] = (),
) -> Iterator[Served]:  # fmt: skip
    """A server of the release in ``root`` on a free port."""
    exhibit = Exhibit(root, Reviewing(table, who, read_only), against, findings)
    exhibit.wait()
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    server = make_server(exhibit, TOKEN, "127.0.0.1", port)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Served(port, exhibit)
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
        assert not thread.is_alive()


def decision(item: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What a page posts about an item of the grid."""
    return {"side": "a", "key": item["key"], "item_id": item["id"], "action": "accept", "why": "sharp", "who": "Ana",
            **more}  # fmt: skip
