"""Pictures to tensors and back: RGB or gray 8-bit outside, float32 in 0..1 before and after the networks."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thermvision.annotations.errors import UsageError

INPUT_SIZE = 256


def image_to_tensor(image: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """A picture as the networks take it: (1, 3, 256, 256) float32 in 0..1.

    Args:
        image: (H, W, 3) uint8 RGB, or (H, W) gray, which becomes three equal channels. Another size is stretched to
            256 × 256 (bilinear, the shape is not kept), as LivePortrait does.

    Raises:
        UsageError: another shape or type.

    >>> image_to_tensor(np.full((8, 4), 51, np.uint8))[0, :, 0, 0].tolist()
    [0.20000000298023224, 0.20000000298023224, 0.20000000298023224]
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or 0 in image.shape:
        raise UsageError(f"image of shape {image.shape} and type {image.dtype}; allowed: (H, W) or (H, W, 3) of uint8")
    if image.shape[:2] != (INPUT_SIZE, INPUT_SIZE):
        image = cv2.resize(image, (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device)
    planes = pixels.permute(2, 0, 1) if image.ndim == 3 else pixels.expand(3, -1, -1)
    return planes.float().div(255)[None].contiguous()


def tensor_to_image(tensor: Tensor) -> NDArray[np.uint8]:
    """A drawn frame (1, C, H, W) in 0..1 as (H, W, C) uint8: limited to 0..1, times 255, truncated.

    >>> tensor_to_image(torch.full((1, 3, 1, 1), 0.999))[0, 0].tolist()
    [254, 254, 254]
    """
    if tensor.ndim != 4 or len(tensor) != 1:
        raise UsageError(f"tensor of shape {tuple(tensor.shape)}; allowed: (1, C, H, W)")
    pixels: NDArray[Any] = (tensor[0].detach().float().clamp(0, 1) * 255).permute(1, 2, 0).to(torch.uint8).cpu().numpy()
    return np.ascontiguousarray(pixels)
