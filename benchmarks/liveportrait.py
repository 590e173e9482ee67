"""Milliseconds a frame of LivePortrait: each network, and a clip from files to file, beside a frame-by-frame loop.

    python benchmarks/liveportrait.py
    python benchmarks/liveportrait.py --device cuda --frames 96 --batch 8 16 --compile

Weights are random, of the published widths and narrow; what is drawn is no picture, and takes as long as one. Its
contrast is turned down so that encoders meet no white noise. The loop is written as the public pipeline works
(KwaiVGI/LivePortrait at 1986663): all frames read first; motion of one frame at a time; per frame the source's part of
the warping anew, one frame through warping and generator, spectral norm divided out in every call, RGB pasted back
within the loop; encoding at the end; half-precision autocast on CUDA. Ours is what ``thermvision animate --paste-back``
runs. Both are given the same face points, as neither's detector is the other's, and draw the same frames: the JSON says
how far they differ. Rounds of both alternate, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from torch import Tensor, nn

from thermvision.annotations.faces import Gray
from thermvision.curation.inputs import PixelReading
from thermvision.curation.video import each_frame, encode_as_made, encode_gray
from thermvision.generation.engines.liveportrait.checkpoint import unfold_spectral
from thermvision.generation.engines.liveportrait.crop import crop_matrix, paste_mask, warp_image
from thermvision.generation.engines.liveportrait.driver import read_driver
from thermvision.generation.engines.liveportrait.driving import DrivingOptions
from thermvision.generation.engines.liveportrait.faces import SeenPoints
from thermvision.generation.engines.liveportrait.keypoints import (
    MotionInfo,
    place_keypoints,
    rotation_matrix,
    transform_keypoints,
)
from thermvision.generation.engines.liveportrait.layers import NARROW, PUBLISHED, Widths
from thermvision.generation.engines.liveportrait.networks import Networks, Painter, random_networks
from thermvision.generation.engines.liveportrait.portrait import make_portrait, read_source
from thermvision.generation.engines.liveportrait.procedure import animate
from thermvision.generation.engines.liveportrait.tensors import image_to_tensor, tensor_to_image
from thermvision.generation.engines.liveportrait.training.motion_losses import motion_info

SIZE = 512
RESULT = Path(__file__).with_suffix(".json")
POINTS = np.array([[196, 220], [316, 220], [256, 290], [208, 350], [304, 350]], np.float32)  # eyes, nose, mouth
OPTIONS = DrivingOptions(option="pose-friendly")


class KnownFaces:
    """Stands for a face detector that takes no time: the face is where it is."""

    class _Annotator:
        tells_polarity = False

    annotator = _Annotator()

    def in_picture(self, gray: Gray, doubt: float = 0.5) -> tuple[Gray, SeenPoints]:
        """The picture and its face."""
        return gray, _Face(POINTS)

    def in_video(self, frames: Iterable[Gray]) -> Iterator[SeenPoints]:
        """The face of each frame."""
        for _ in frames:
            yield _Face(POINTS)


class _Face(SeenPoints):
    eyes = np.array([0.3, 0.3], np.float32)
    lips = 0.05


def head(turn: float) -> Gray:
    """A warm oval, turned sideways by as much as ``turn`` pixels."""
    y, x = np.mgrid[:SIZE, :SIZE]
    inside = 1 - ((x - 256 - turn) / 130) ** 2 - ((y - 270) / 180) ** 2
    return (60 + 150 * np.clip(inside, 0, 1) + 8 * np.sin(x / 9) * np.cos(y / 13)).astype(np.uint8)


def write_inputs(folder: Path, frames: int) -> tuple[Path, Path]:
    """A source picture and a driving video."""
    source, driving = folder / "source.png", folder / "driving.mp4"
    cv2.imwrite(str(source), head(0))
    driving.write_bytes(encode_gray(np.stack([head(30 * np.sin(0.2 * k)) for k in range(frames)])))
    return source, driving


def ours(networks: Networks, source: Path, driving: Path, out: Path, batch: int) -> list[Gray]:
    """The project's procedure, from files to a file."""
    faces: Any = KnownFaces()
    gray, face, _ = read_source(source, faces, PixelReading(polarity="white-hot"))
    portrait = make_portrait(networks, gray, face)
    template = read_driver(networks, driving, faces, crop=False, batch=max(batch, 8)).template
    frames, video, _ = encode_as_made(animate(networks, portrait, template, OPTIONS, paste_back=True, batch=batch))
    out.write_bytes(video)
    return list(frames)


class Public:
    """The frame-by-frame loop over the same weights, with the generator's spectral norm in place."""

    def __init__(self, networks: Networks) -> None:
        self.networks = networks
        self.spade = copy.deepcopy(networks.spade)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the old spectral norm is the one the public code has
            for name, module in list(self.spade.named_modules()):
                if isinstance(module, nn.Conv2d) and name.rpartition(".")[2] in ("conv_0", "conv_1", "conv_s"):
                    nn.utils.spectral_norm(module)
        self.spade.load_state_dict(unfold_spectral(networks.spade.state_dict()))
        self.spade.eval().requires_grad_(False)

    def autocast(self) -> Any:
        """Half precision on CUDA, which is the public default; on a CPU it would be many times slower."""
        kind = self.networks.device.type
        return torch.autocast(kind, dtype=torch.float16, enabled=kind == "cuda")

    def motion(self, image: Tensor) -> MotionInfo:
        """Of one crop."""
        with torch.no_grad(), self.autocast():
            heads = self.networks.motion(image)
        return motion_info(heads)

    def draw(self, volume: Tensor, kp_source: Tensor, kp_driving: Tensor) -> Tensor:
        """RGB (1, 3, 512, 512) of one frame."""
        with torch.no_grad(), self.autocast():
            picture: Tensor = self.spade(self.networks.warping(volume, kp_source, kp_driving)["out"])
        return picture.float()

    def run(self, source: Path, driving: Path, out: Path) -> list[Gray]:
        """From files to a file."""
        networks, device = self.networks, self.networks.device
        picture = cv2.cvtColor(cv2.imread(str(source)), cv2.COLOR_BGR2RGB)
        matrix = crop_matrix(POINTS)
        crop = cv2.resize(warp_image(picture, matrix, SIZE, SIZE), (256, 256), interpolation=cv2.INTER_AREA)
        to_picture = np.linalg.inv(matrix.astype(np.float64)).astype(np.float32)
        image = image_to_tensor(np.asarray(crop, np.uint8), device)
        still = self.motion(image)
        with torch.no_grad(), self.autocast():
            volume = networks.appearance(image).float()
        kp_source = transform_keypoints(still)
        turned = rotation_matrix(still.pitch, still.yaw, still.roll)

        read = [cv2.cvtColor(np.asarray(frame), cv2.COLOR_GRAY2RGB) for frame in self.frames(driving)]
        small = [np.asarray(cv2.resize(frame, (256, 256)), np.uint8) for frame in read]
        driver = [self.motion(image_to_tensor(frame, device)) for frame in small]
        rotations = [rotation_matrix(info.pitch, info.yaw, info.roll) for info in driver]
        mask = np.repeat(paste_mask()[..., None], 3, axis=2)
        weight = warp_image(mask, to_picture, SIZE, SIZE).astype(np.float32) / 255
        pasted = []
        for now, rotation in zip(driver, rotations, strict=True):
            moved = place_keypoints(
                still.kp,
                still.exp + now.exp - driver[0].exp,
                still.scale * (now.scale / driver[0].scale),
                still.t + now.t - driver[0].t,
                rotation @ rotations[0].transpose(1, 2) @ turned,
            )
            drawn = tensor_to_image(self.draw(volume, kp_source, networks.stitch(kp_source, moved)))
            over = warp_image(drawn, to_picture, SIZE, SIZE)
            pasted.append(np.clip(weight * over + (1 - weight) * picture, 0, 255).astype(np.uint8))
        self.encode(pasted, out)
        return [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.uint8) for frame in pasted]

    @staticmethod
    def frames(driving: Path) -> Iterator[Gray]:
        """Gray frames of a video."""
        return (np.asarray(frame if frame.ndim == 2 else frame[..., 0], np.uint8) for frame in each_frame(driving))

    @staticmethod
    def encode(frames: list[Any], out: Path) -> None:
        """RGB to MP4, quality 18."""
        with av.open(str(out), "w") as container:
            stream = container.add_stream("libx264", 30, options={"crf": "18"})
            stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())


def timed(work: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Median milliseconds of ``work``, after one call that warms up."""
    taken = []
    for _ in range(repeats + 1):
        _wait(device)
        began = time.perf_counter()
        work()
        _wait(device)
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def by_network(networks: Networks, public: Public, batch: int, repeats: int) -> dict[str, dict[str, float | None]]:
    """Milliseconds a frame of each network, ours in batches and the loop's one by one."""
    device = networks.device
    one = image_to_tensor(head(0), device)
    many = one.expand(batch, -1, -1, -1).contiguous()
    info = networks.motion_of(one)
    still = transform_keypoints(info)
    moved = still + 0.02 * torch.randn(batch, 21, 3, generator=torch.Generator().manual_seed(0)).to(device)
    features = networks.features(one)
    painter = networks._painter()  # in the precision and with the compilation of a clip
    parts: Any = painter if isinstance(painter, Painter) else painter._orig_mod  # type: ignore[attr-defined]
    eyes, lips = torch.tensor([[0.3, 0.3, 0.1]]), torch.tensor([[0.1, 0.3]])
    volume = features.volume.clone()

    def labels() -> Tensor:
        with torch.inference_mode():
            out: Tensor = parts.warping.warp(features, still, moved)["out"]
            return out

    label = labels()

    def both() -> None:
        with torch.inference_mode():
            painter(features, still, moved)

    def paint() -> None:
        with torch.inference_mode():
            parts.spade.logits(label)

    def public_warp() -> Tensor:
        with torch.no_grad(), public.autocast():
            out: Tensor = networks.warping(volume, still, moved[:1])["out"]
            return out

    warped = public_warp()

    def public_paint() -> None:
        with torch.no_grad(), public.autocast():
            public.spade(warped)

    def public_appearance() -> None:
        with torch.no_grad(), public.autocast():
            networks.appearance(one)

    small = {
        "stitching": lambda: networks.stitch(still, moved[:1]),
        "eyes": lambda: networks.retarget_eye(still, eyes.to(device)),
        "lips": lambda: networks.retarget_lip(still, lips.to(device)),
    }
    rows: dict[str, tuple[Callable[[], Any], int, Callable[[], Any] | None]] = {
        "appearance, once a source": (lambda: networks.features(one), 1, public_appearance),
        "motion": (lambda: networks.motion_of(many), batch, lambda: public.motion(one)),
        "warping": (labels, batch, public_warp),
        "generator": (paint, batch, public_paint),
        "warping + generator": (both, batch, lambda: public.draw(volume, still, moved[:1])),
        **{name: (work, 1, None) for name, work in small.items()},
    }
    table: dict[str, dict[str, float | None]] = {}
    for name, (work, count, theirs) in rows.items():
        quick = 20 if name in small else repeats
        table[name] = {
            "ours_ms": timed(work, device, quick) / count,
            "loop_ms": None if theirs is None else timed(theirs, device, quick),
        }
    return table


def end_to_end(
    networks: Networks, public: Public, source: Path, driving: Path, batch: int, rounds: int
) -> dict[str, Any]:
    """Milliseconds a frame of a whole clip, ours and the loop's in turn."""
    folder = source.parent
    taken: dict[str, list[float]] = {"ours": [], "loop": []}
    drawn: dict[str, list[Gray]] = {}
    makers: dict[str, Callable[[], list[Gray]]] = {
        "ours": lambda: ours(networks, source, driving, folder / "ours.mp4", batch),
        "loop": lambda: public.run(source, driving, folder / "loop.mp4"),
    }
    for number in range(rounds):
        for name in ("ours", "loop") if number % 2 else ("loop", "ours"):
            _wait(networks.device)
            began = time.perf_counter()
            drawn[name] = makers[name]()
            taken[name].append(1000 * (time.perf_counter() - began) / len(drawn[name]))
    apart = np.abs(np.stack(drawn["ours"]).astype(int) - np.stack(drawn["loop"]))
    ratios = [theirs / mine for mine, theirs in zip(taken["ours"], taken["loop"], strict=True)]
    return {
        "frames": len(drawn["ours"]),
        "rounds": rounds,
        "ours_ms": statistics.median(taken["ours"]),
        "loop_ms": statistics.median(taken["loop"]),
        "times_as_fast": statistics.median(ratios),
        "mean_difference": float(apart.mean()),
        "largest_difference": int(apart.max()),
        "all_ms": taken,
    }


def measure(
    widths: Widths, device: str, frames: int, batch: int, rounds: int, repeats: int, precision: str, compile: bool
) -> dict[str, Any]:
    """One row of the table."""
    before = os.getloadavg()[0]
    networks = random_networks(widths, device=device, precision=precision, compile=compile)
    with torch.no_grad():
        networks.spade.conv_img[0].weight *= 0.05
    networks._paint = networks._painter()  # half precision is a copy of the weights
    public = Public(networks)
    with tempfile.TemporaryDirectory() as folder:
        source, driving = write_inputs(Path(folder), frames)
        if networks.device.type == "cuda":
            end_to_end(networks, public, source, driving, batch, 1)  # warms up
        clip = end_to_end(networks, public, source, driving, batch, rounds)
    cuda = networks.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(networks.device) if cuda else f"cpu, {torch.get_num_threads()} threads",
        "widths": "published" if widths == PUBLISHED else "narrow",
        "precision": str(networks.dtype).removeprefix("torch."),
        "fell_back": networks.fell_back,
        "compiled": compile,
        "batch": batch,
        "clip": clip,
        "networks": by_network(networks, public, batch, repeats),
        "load": [round(before, 2), round(os.getloadavg()[0], 2)],
    }


def show(row: dict[str, Any]) -> None:
    """Print one row."""
    clip = row["clip"]
    print(f"{row['device']}, {row['widths']} widths, {row['precision']}, batch {row['batch']}, load {row['load']}")
    print(f"{'':28} {'ours ms':>9} {'loop ms':>9} {'ratio':>6}")
    lines = [*row["networks"].items(), (f"a clip of {clip['frames']} frames", clip)]
    for name, ms in lines:
        loop, ratio = ("", "") if ms["loop_ms"] is None else (f"{ms['loop_ms']:.2f}", ms["loop_ms"] / ms["ours_ms"])
        ratio = ms.get("times_as_fast", ratio)
        print(f"{name:28} {ms['ours_ms']:9.2f} {loop:>9} {ratio if ratio == '' else f'{ratio:.2f}':>6}")
    print(f"frames differ by {clip['mean_difference']:.3f} gray levels, at most {clip['largest_difference']}")


def main() -> None:
    """Measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", nargs="+", default=["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
    parser.add_argument("--widths", nargs="+", choices=("published", "narrow"), default=["narrow", "published"])
    parser.add_argument("--frames", type=int, help="of the clip; default: 8 on a CPU, 96 on CUDA")
    parser.add_argument("--batch", type=int, nargs="+", help="default: 1 on a CPU, 8 and 16 on CUDA")
    parser.add_argument("--rounds", type=int, help="clips of each; default: 1 on a CPU at published widths, else 5")
    parser.add_argument("--precision", nargs="+", default=["auto"], help="ours; auto, fp32, bf16, fp16")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", type=Path, default=RESULT)
    options = parser.parse_args()
    rows = []
    for device in options.device:
        cuda = device.startswith("cuda")
        for name in options.widths:
            slow = not cuda and name == "published"
            for batch, precision in itertools.product(options.batch or ([8, 16] if cuda else [1]), options.precision):
                rows.append(
                    measure(
                        PUBLISHED if name == "published" else NARROW, device, options.frames or (96 if cuda else 8),
                        batch, options.rounds or (1 if slow else 5), 1 if slow else 20, precision, options.compile,
                    )
                )  # fmt: skip
                show(rows[-1])
                print()
    result = {"torch": torch.__version__, "size": SIZE, "rows": rows}
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
