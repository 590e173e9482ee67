"""`facenet-pytorch` without torchvision, and its InceptionResnetV1 as an embedder.

The package asks torchvision for two functions only, and torchvision cannot be imported beside a CPU build of torch.
Where it is not there, stand-ins take its place in `sys.modules` for as long as `facenet_pytorch` is being imported.
"""

from __future__ import annotations

import importlib
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from thermvision.annotations.embedder import aligned_crops, unit
from thermvision.annotations.errors import DamagedInputError, MissingDependencyError
from thermvision.annotations.faces import Floats, Gray
from thermvision.annotations.session import MAX_BYTES, short_digest

INSTALL = "pip install --no-deps facenet-pytorch"
TORCH = "pip install 'thermvision-db[train]'"
# releases of the package's repository; the other set is 20180408-102900-casia-webface.pt
WEIGHTS = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/20180402-114759-vggface2.pt"
CROP = 160
_lock = threading.Lock()


def facenet_pytorch() -> ModuleType:
    """The package, imported with or without torchvision.

    Raises:
        MissingDependencyError: it or torch is not installed.
    """
    if find_spec("torch") is None:
        raise MissingDependencyError(f"facenet-pytorch needs torch, which is not installed; type: {TORCH}")
    if "facenet_pytorch" not in sys.modules and find_spec("facenet_pytorch") is None:
        raise MissingDependencyError(f"facenet-pytorch is not installed; type: {INSTALL}")
    # the package adds a filter of warnings when imported, which is nobody else's business
    with _lock, _torchvision_stand_ins(), warnings.catch_warnings():
        try:
            return importlib.import_module("facenet_pytorch")
        except (ImportError, RuntimeError) as error:
            reason = f"facenet-pytorch cannot be imported: {error}"
            raise MissingDependencyError(f"{reason}; type: {INSTALL} --force-reinstall") from error


@contextmanager
def _torchvision_stand_ins() -> Iterator[None]:
    if "torchvision" in sys.modules or find_spec("torchvision") is not None:
        yield
        return
    modules = {
        name: ModuleType(name)
        for name in (
            "torchvision",
            "torchvision.ops",
            "torchvision.ops.boxes",
            "torchvision.transforms",
            "torchvision.transforms.functional",
        )
    }
    modules["torchvision.ops.boxes"].__dict__["batched_nms"] = batched_nms
    modules["torchvision.transforms.functional"].__dict__["to_tensor"] = to_tensor
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            sys.modules.pop(name, None)


def batched_nms(boxes: Any, scores: Any, idxs: Any, iou_threshold: float) -> Any:
    """What ``torchvision.ops.boxes.batched_nms`` does: suppression within each group, indices by falling score.

    Args:
        boxes: (M, 4) tensor of left, top, right, bottom.
        scores: (M,) tensor.
        idxs: (M,) tensor of group numbers.
        iou_threshold: a box that overlaps a better one by more goes.
    """
    import cv2
    import torch

    if not len(boxes):
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    corners = boxes.detach().cpu().numpy().astype(np.float64)
    sizes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
    groups = idxs.detach().cpu().numpy().astype(np.int32)
    kept = cv2.dnn.NMSBoxesBatched(sizes.tolist(), scores.tolist(), groups.tolist(), 0.0, float(iou_threshold))
    return torch.as_tensor(np.asarray(kept, np.int64).reshape(-1), device=boxes.device)


def to_tensor(image: ArrayLike) -> Any:
    """What ``torchvision.transforms.functional.to_tensor`` does: (H, W, C) to (C, H, W), and uint8 to 0..1."""
    import torch

    array = np.asarray(image)
    array = array[:, :, None] if array.ndim == 2 else array
    tensor = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))
    return tensor.to(torch.float32) / 255 if array.dtype == np.uint8 else tensor


class FacenetEmbedder:
    """InceptionResnetV1 behind the protocol of embedders: unit vectors of 512 numbers.

    Args:
        path: its weights, a file of tensors as the package's releases have them.
        threads: threads of torch.

    Raises:
        MissingDependencyError: the package or the weights are not there.
        DamagedInputError: the file does not hold these weights.
    """

    BATCH = 32

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        package = facenet_pytorch()
        import torch

        file = Path(path).expanduser()
        if not file.is_file():
            raise MissingDependencyError(f"{path} is no file of weights; fetch {WEIGHTS} and type: facenet:PATH")
        if (size := file.stat().st_size) > MAX_BYTES:
            raise DamagedInputError(f"{path} has {size} bytes; allowed: up to {MAX_BYTES}; fetch {WEIGHTS}")
        torch.set_num_threads(threads)
        self._network = package.InceptionResnetV1(pretrained=None).eval()
        try:
            weights = torch.load(file, map_location="cpu", weights_only=True)
            # the published files end in a layer of class scores, which embedding does not use
            self._network.load_state_dict({k: v for k, v in weights.items() if not k.startswith("logits.")})
        except Exception as error:  # torch raises pickle's, zip's and its own errors
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise DamagedInputError(
                f"{path} holds no weights of InceptionResnetV1: {reason}; fetch {WEIGHTS}"
            ) from error
        self.source = f"{file.stem}@{short_digest(file.read_bytes())}"

    def embed(self, image: ArrayLike | Sequence[Gray], keypoints: ArrayLike | None = None) -> Floats:
        """Embeddings (M, 512) float32 of aligned crops (M, 160, 160) uint8, or of the faces of one frame.

        The network was trained on upright colour faces without alignment; gray goes into all three channels.

        Raises:
            ValueError: the shapes are others, or a keypoint is not finite.
        """
        import torch

        crops = aligned_crops(image, keypoints, CROP)
        parts = []
        for i in range(0, len(crops), self.BATCH):
            pixels = torch.from_numpy((crops[i : i + self.BATCH].astype(np.float32) - 127.5) / 128)
            with torch.inference_mode():
                parts.append(self._network(pixels[:, None].expand(-1, 3, -1, -1)).numpy())
        return unit(np.concatenate(parts)) if parts else np.zeros((0, 512), np.float32)
