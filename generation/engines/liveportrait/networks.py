"""The networks together: what the engine asks of them, in batches, on one device and in one precision.

The appearance and motion extractors, stitching and retargeting always compute in float32: they run once a source or
are small, and keypoints that lose digits make a face tremble. ``precision`` is that of warping and painting, nearly
all of the work. Half precision overflows with some weights and on some cards: a batch with a number that is not finite,
or with a black frame, is made again in float32, and so is all that follows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.curation.store import canonical_json, sha256_bytes, sha256_file
from thermvision.generation.engines.liveportrait.appearance import AppearanceExtractor
from thermvision.generation.engines.liveportrait.checkpoint import (
    PERCEPTRONS,
    find_files,
    normalise,
    read_metadata,
    read_weights,
)
from thermvision.generation.engines.liveportrait.keypoints import NUM_KEYPOINTS, MotionInfo, headpose_degrees
from thermvision.generation.engines.liveportrait.layers import NARROW, Widths
from thermvision.generation.engines.liveportrait.modules import NETWORKS, network_of
from thermvision.generation.engines.liveportrait.motion_extractor import MotionExtractor
from thermvision.generation.engines.liveportrait.quick_spade import QuickGenerator
from thermvision.generation.engines.liveportrait.quick_warping import QuickWarping
from thermvision.generation.engines.liveportrait.random_weights import RANDOM_NOTE, random_state
from thermvision.generation.engines.liveportrait.retargeting import Perceptron
from thermvision.generation.engines.liveportrait.spade import SpadeGenerator
from thermvision.generation.engines.liveportrait.warping import SourceFeatures, WarpingModule, with_keypoints
from thermvision.generation.engines.liveportrait.widths import infer_widths

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
BLACK = 1  # a frame with no level above this has failed
MOTION_BATCH = 32

Paint = Callable[[SourceFeatures, Tensor, Tensor], Tensor]


class Painter(nn.Module):
    """Warping and generator in one step: a source, its keypoints and the driver's to RGB before the sigmoid."""

    def __init__(self, warping: WarpingModule | QuickWarping, spade: SpadeGenerator | QuickGenerator) -> None:
        super().__init__()
        self.warping, self.spade = warping, spade

    def forward(self, source: SourceFeatures, kp_source: Tensor, kp_driving: Tensor) -> Tensor:
        return self.spade.logits(self.warping.warp(source, kp_source, kp_driving)["out"]).float()


def to_gray(logits: Tensor) -> Tensor:
    """Gray levels (N, H, W) uint8 of RGB (N, 3, H, W) before the sigmoid.

    Each channel is cut to a whole level as LivePortrait does, then Rec. 601 luma is rounded: three equal channels,
    which thermally tuned weights nearly give, come out unchanged.

    >>> to_gray(torch.tensor([0.0, 0.0, 0.0]).reshape(1, 3, 1, 1)).item()
    127
    """
    levels = (logits.sigmoid() * 255).floor()
    weights = torch.tensor(LUMA, device=logits.device).reshape(3, 1, 1)
    return ((levels * weights).sum(dim=1) + 0.5).floor().to(torch.uint8)


@dataclass
class Networks:
    """All networks of one checkpoint folder, see `load_networks`.

    Attributes:
        device: where they are and answer.
        dtype: of warping and painting, float32 from the first failure in half precision on.
        widths: of all of them.
        digests: SHA-256 of each file by its name.
        random: the weights mean nothing and so does the picture.
        compiled: warping and painting go through ``torch.compile``.
        fell_back: half precision failed and float32 took over.
    """

    appearance: AppearanceExtractor
    motion: MotionExtractor
    warping: WarpingModule
    spade: SpadeGenerator
    stitching: Perceptron
    eye: Perceptron
    lip: Perceptron
    widths: Widths
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    digests: dict[str, str] = field(default_factory=dict)
    random: bool = False
    compiled: bool = False
    fell_back: bool = False

    def __post_init__(self) -> None:
        for net in NETWORKS:
            getattr(self, net).to(self.device)

    @functools.cached_property
    def _paint(self) -> Paint:
        return self._painter()

    def features(self, image: Tensor) -> SourceFeatures:
        """Feature volume of an image (B, 3, 256, 256), RGB from 0 to 1, and what of the warping depends on it alone."""
        with torch.inference_mode(), _float32_as_such():
            return self.warping.prepare(self.appearance(image.to(self.device, torch.float32)))

    def motion_of(self, images: Tensor) -> MotionInfo:
        """Pose, expression and keypoints of images (B, 3, 256, 256), RGB from 0 to 1; angles in degrees."""
        with torch.inference_mode(), _float32_as_such():
            parts = [self.motion(part.to(self.device, torch.float32)) for part in images.split(MOTION_BATCH)]
        heads = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        angles = {name: headpose_degrees(heads[name])[:, None] for name in ("pitch", "yaw", "roll")}
        points = {name: heads[name].unflatten(1, (NUM_KEYPOINTS, 3)) for name in ("kp", "exp")}
        return MotionInfo(scale=heads["scale"], t=heads["t"], **points, **angles)

    def stitch(self, kp_source: Tensor, kp_driving: Tensor) -> Tensor:
        """Driving keypoints (B, 21, 3) moved so that the picture fits what surrounds it."""
        moves = self._perceive(self.stitching, kp_source, kp_driving.flatten(1))
        stitched = kp_driving + moves[:, :-2].unflatten(1, (NUM_KEYPOINTS, 3))
        stitched[..., :2] += moves[:, None, -2:]
        return stitched

    def retarget_eye(self, kp_source: Tensor, ratios: Tensor) -> Tensor:
        """Offsets (B, 21, 3) for eye ratios (B, 3): the source's left and right, the wanted one."""
        return self._perceive(self.eye, kp_source, ratios).unflatten(1, (NUM_KEYPOINTS, 3))

    def retarget_lip(self, kp_source: Tensor, ratios: Tensor) -> Tensor:
        """Offsets (B, 21, 3) for lip ratios (B, 2): the source's and the wanted one."""
        return self._perceive(self.lip, kp_source, ratios).unflatten(1, (NUM_KEYPOINTS, 3))

    def _perceive(self, net: Perceptron, kp_source: Tensor, numbers: Tensor) -> Tensor:
        x = torch.cat([kp_source.flatten(1).expand(len(numbers), -1), numbers], dim=1)
        with torch.no_grad(), _float32_as_such():
            answer: Tensor = net(x.to(self.device, torch.float32))
        return answer.to(kp_source.device)

    def draw(
        self, source: SourceFeatures, kp_source: Tensor, kp_driving: Tensor, batch: int | None = None
    ) -> NDArray[np.uint8]:
        """Frames (N, 512, 512), gray, of one source at the driving keypoints (N, 21, 3); see `draw_batches`."""
        return np.concatenate(list(self.draw_batches(source, kp_source, kp_driving, batch)))

    def draw_batches(
        self, source: SourceFeatures, kp_source: Tensor, kp_driving: Tensor, batch: int | None = None
    ) -> Iterator[NDArray[np.uint8]]:
        """Gray frames of one source (B = 1), ``batch`` at a time: by default 8 on CUDA and 1 elsewhere.

        Args:
            source: of `features`.
            kp_source: (1, 21, 3) keypoints of the source.
            kp_driving: (N, 21, 3), N at least 1.

        Raises:
            UsageError: the shapes are others.
            DamagedInputError: the picture is not finite in float32 either.
        """
        one = (1, NUM_KEYPOINTS, 3)
        if kp_source.shape != one or kp_driving.shape[1:] != one[1:] or not len(kp_driving) or len(source.volume) != 1:
            raise UsageError(
                f"one source with keypoints {tuple(kp_source.shape)} and a driver's {tuple(kp_driving.shape)}; "
                f"allowed: {one} and (N, {NUM_KEYPOINTS}, 3) with N at least 1"
            )
        batch = batch or (8 if self.device.type == "cuda" else 1)
        kp_source, kp_driving = (x.to(self.device, torch.float32) for x in (kp_source, kp_driving))
        with torch.inference_mode():
            source = with_keypoints(source, kp_source)
        for points in kp_driving.split(batch):
            # a compiled network is made for one batch size
            padding = batch - len(points) if self.compiled and len(kp_driving) > batch else 0
            padded = torch.cat([points, points[-1:].expand(padding, -1, -1)])
            yield self._frames(source, kp_source, padded)[: len(points)]

    def _frames(self, source: SourceFeatures, kp_source: Tensor, points: Tensor) -> NDArray[np.uint8]:
        frames, finite = self._painted(source, kp_source, points)
        if self.dtype != torch.float32 and not (finite and _all_lit(frames)):
            self.dtype, self.fell_back = torch.float32, True
            self._paint = self._painter()
            frames, finite = self._painted(source, kp_source, points)
        if not finite:
            raise DamagedInputError(
                "the generator's picture is not finite in float32; the checkpoints are damaged: fetch them again"
            )
        return frames

    def _painted(self, source: SourceFeatures, kp_source: Tensor, points: Tensor) -> tuple[NDArray[np.uint8], bool]:
        with torch.inference_mode(), _float32_as_such():
            logits = self._paint(source, kp_source, points)
            frames: NDArray[np.uint8] = to_gray(logits).cpu().numpy()
            return frames, bool(logits.isfinite().all())

    def _painter(self) -> Paint:
        with torch.no_grad():
            painter = Painter(QuickWarping(self.warping, self.dtype), QuickGenerator(self.spade, self.dtype))
        return torch.compile(painter, dynamic=False) if self.compiled else painter


def _all_lit(frames: NDArray[np.uint8]) -> bool:
    return bool((frames.max(axis=(1, 2)) > BLACK).all())


def _float32_as_such() -> AbstractContextManager[Any]:
    """No TensorFloat-32 inside: it costs three digits. Equal inputs give equal pixels."""
    context: AbstractContextManager[Any] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return context


def choose_device(name: str = "auto") -> torch.device:
    """The device called ``name``; auto is CUDA where there is one.

    >>> choose_device("cpu")
    device(type='cpu')

    Raises:
        UsageError: torch has no such device.
    """
    cuda = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device is {name!r}; allowed: auto, cpu, cuda, cuda:0") from error
    if device.type not in ("cpu", "cuda") or (
        device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    ):
        raise UsageError(f"device is {name!r} and torch has {torch.cuda.device_count()} CUDA devices; use auto or cpu")
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The type called ``name``; auto is fp16, which the public code uses, on CUDA cards with fast halves, else fp32.

    Raises:
        UsageError: there is no such precision.
    """
    if name == "auto":
        fast = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0)
        return torch.float16 if fast else torch.float32
    if name not in PRECISIONS:
        raise UsageError(f"precision is {name!r}; allowed: auto, {', '.join(PRECISIONS)}")
    if name == "fp16" and device.type == "cpu":
        raise UsageError(
            "precision is fp16, a hundred times slower than fp32 on a CPU; allowed there: auto, fp32, bf16"
        )
    return PRECISIONS[name]


def load_networks(
    folder: Path, device: str = "auto", precision: str = "auto", compile: bool = False, allow_pth: bool = False
) -> Networks:
    """The networks of a checkpoint folder, published or narrow; see `checkpoint` for the layouts.

    Raises:
        MissingDependencyError: files are missing.
        DamagedInputError: a file is not what it should be; names it and the first keys that do not fit.
        UsageError: no such device or precision.
    """
    target = choose_device(device)
    dtype = choose_precision(precision, target)
    files = find_files(folder, allow_pth)
    raw = {name: read_weights(path, allow_pth) for name, path in files.items()}
    source = {net: "stitching_retargeting" if net in PERCEPTRONS else net for net in NETWORKS}
    states = {net: _of_file(files[source[net]], normalise, net, raw[source[net]]) for net in NETWORKS}
    widths = infer_widths(states)
    modules: dict[str, Any] = {
        net: _of_file(files[source[net]], network_of, net, state, widths) for net, state in states.items()
    }
    return Networks(
        **modules,
        widths=widths,
        device=target,
        dtype=dtype,
        digests={path.name: sha256_file(path) for path in files.values()},
        random=any(RANDOM_NOTE in read_metadata(path) for path in files.values()),
        compiled=compile,
    )


def _of_file(path: Path, step: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return step(*arguments)
    except DamagedInputError as error:
        raise DamagedInputError(f"{path}: {error}") from error


def random_networks(
    widths: Widths = NARROW, seed: int = 0, device: str = "cpu", precision: str = "auto", compile: bool = False
) -> Networks:
    """Networks with seeded weights, which draw noise.

    >>> random_networks().random
    True
    """
    target = choose_device(device)
    modules: dict[str, Any] = {net: network_of(net, random_state(net, widths, seed), widths) for net in NETWORKS}
    identity = canonical_json({"seed": seed, "widths": asdict(widths)})
    return Networks(
        **modules,
        widths=widths,
        device=target,
        dtype=choose_precision(precision, target),
        digests={"random": sha256_bytes(identity.encode())},
        random=True,
        compiled=compile,
    )
