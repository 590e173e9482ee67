"""Classifiers of face crops to compare training data with: MobileNetV2, EfficientNet-b0 and ResNet, of `transformers`.

They are measuring instruments, not models that we ship: each is trained the same way on each mix of data, for a fixed
number of epochs, so that nothing is chosen by looking at the test.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, UsageError

from .pool import Chunk

NETWORKS = ("mobilenetv2", "efficientnet-b0", "resnet50", "resnet18")
MARGIN = 8  # crops are one part in so many wider than what a network sees, to be shifted within
# of ImageNet, in which pretrained weights expect their input: https://docs.pytorch.org/vision/stable/models.html
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_WARM_UP = 0.1  # part of the steps in which the rate rises
_SMALLEST = 2  # batch normalisation needs two
_SETTLING = 2048  # crops that its statistics are taken over at the end


@dataclass(frozen=True)
class Training:
    """How a classifier is trained.

    Attributes:
        epochs: passes over the training data.
        batch: images a step.
        rate: highest learning rate of AdamW; it rises over a tenth of the steps and falls along a cosine.
        size: pixels a side that a network sees.
        width: channels relative to the published network; 1 with pretrained weights.
        seed: of weights, order and shifts.
        device: of torch.
        threads: of torch on the CPU.

    >>> Training(epochs=2, width=0.25).size
    64
    """

    epochs: int = 10
    batch: int = 32
    rate: float = 1e-3
    size: int = 64
    width: float = 1.0
    seed: int = 0
    device: str = "cpu"
    threads: int = 1

    def decides(self) -> dict[str, Any]:
        """What decides the result."""
        return {k: v for k, v in asdict(self).items() if k != "threads"}


class GrayClassifier(nn.Module):
    """A network of `transformers` for gray crops (N, 1, S, S) in 0..1, which it repeats into three channels."""

    mean: Tensor
    std: Tensor

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1))

    def forward(self, gray: Tensor) -> Tensor:
        """Scores (N, classes)."""
        scores: Tensor = self.inner(pixel_values=(gray.expand(-1, 3, -1, -1) - self.mean) / self.std).logits
        return scores


def require(training: Training, weights: Mapping[str, Path] | None = None) -> None:
    """Say what is missing before anything is read.

    Raises:
        UsageError: the device is not there, or pretrained weights meet another width.
        MissingDependencyError: `transformers` is not installed, or a folder has no weights.
    """
    _transformers()
    try:
        torch.zeros(1, device=training.device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"--device is {training.device!r} ({reason}); allowed here: a device of torch, or cpu"
        ) from error
    for folder in (weights or {}).values():
        _check_weights(folder, training)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingDependencyError(
            'recognition networks need transformers; type: pip install -c constraints.txt -e ".[recognition]"'
        ) from error
    return transformers


def _check_weights(folder: Path, training: Training) -> None:
    if training.width != 1:
        raise UsageError(f"--width is {training.width:g}; pretrained weights are of width 1")
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise MissingDependencyError(
            f"{folder} holds no config.json with model.safetensors; fetch the model's folder from the Hub, such as"
            " google/mobilenet_v2_1.0_224, google/efficientnet-b0 or microsoft/resnet-50"
        )


def make_network(name: str, classes: int, training: Training, weights: Path | None = None) -> GrayClassifier:
    """One of `NETWORKS` with ``classes`` outputs; its weights are random, or those of a folder but for the last layer.

    Args:
        name: of the network.
        classes: how many there are.
        training: its size, width and seed.
        weights: folder with ``config.json`` and ``model.safetensors`` in the format of `transformers`.

    Raises:
        UsageError: there is no such network, or the folder holds another.
        MissingDependencyError: `transformers` is not installed, or the folder has no weights.
        DamagedInputError: the weights cannot be read.
    """
    if name not in NETWORKS:
        raise UsageError(f"network {name!r} does not exist; allowed: {', '.join(NETWORKS)}")
    transformers = _transformers()
    from safetensors import SafetensorError  # transformers brings it

    kinds: dict[str, Any] = {
        "mobilenetv2": transformers.MobileNetV2ForImageClassification,
        "efficientnet-b0": transformers.EfficientNetForImageClassification,
        "resnet50": transformers.ResNetForImageClassification,
        "resnet18": transformers.ResNetForImageClassification,
    }
    torch.manual_seed(training.seed)
    if weights is None:
        inner = kinds[name](_config(transformers, name, classes, training))
        return GrayClassifier(inner.apply(_start))
    _check_weights(weights, training)
    try:
        config = transformers.AutoConfig.from_pretrained(weights, local_files_only=True)
        if config.model_type != kinds[name].config_class.model_type:
            raise UsageError(f"{weights} is a {config.model_type}; {name} is a {kinds[name].config_class.model_type}")
        with _quiet(transformers):
            inner, found = kinds[name].from_pretrained(
                weights, num_labels=classes, ignore_mismatched_sizes=True, local_files_only=True, use_safetensors=True,
                output_loading_info=True,
            )  # fmt: skip
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise DamagedInputError(f"{weights} does not load as {name} ({error}); fetch the folder again") from error
    if lacking := sorted(n for n in found["missing_keys"] if not n.startswith("classifier")):
        raise DamagedInputError(f"{weights} lacks {len(lacking)} weights, such as {lacking[0]}; fetch the folder again")
    return GrayClassifier(inner)


def _start(module: nn.Module) -> None:
    """Batch normalisation starts at 1: near 0, as `transformers` draws it, an untrained EfficientNet stays silent."""
    if isinstance(module, nn.BatchNorm2d):
        nn.init.ones_(module.weight)


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without its report that the last layer is new, which is what we want."""
    logging = transformers.utils.logging
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def _config(transformers: Any, name: str, classes: int, training: Training) -> Any:
    width, size = training.width, training.size
    if name == "mobilenetv2":
        return transformers.MobileNetV2Config(
            num_labels=classes, image_size=size, depth_multiplier=width, classifier_dropout_prob=0.2
        )
    if name == "efficientnet-b0":
        # the class's defaults are those of b7
        return transformers.EfficientNetConfig(
            num_labels=classes, image_size=size, width_coefficient=width, depth_coefficient=1.0,
            hidden_dim=_channels(1280, width), dropout_rate=0.2,
        )  # fmt: skip
    deep = name == "resnet50"
    return transformers.ResNetConfig(
        num_labels=classes,
        embedding_size=_channels(64, width),
        hidden_sizes=[_channels(c, width) for c in ((256, 512, 1024, 2048) if deep else (64, 128, 256, 512))],
        depths=[3, 4, 6, 3] if deep else [2, 2, 2, 2],
        layer_type="bottleneck" if deep else "basic",
    )


def _channels(count: int, width: float) -> int:
    return max(8, round(count * width / 8) * 8)


def train_classifier(
    net: GrayClassifier,
    crops: NDArray[np.uint8],
    labels: NDArray[np.int64],
    training: Training,
    report: Callable[[str], None] | None = None,
) -> GrayClassifier:
    """Train on crops (N, T, T) uint8 with T = size + size / `MARGIN`, and labels (N,): all epochs, the last weights.

    Classes count equally however many crops each has. Crops are shifted, mirrored, and made brighter or flatter.

    Raises:
        UsageError: there are fewer than two crops, or they are too small.
    """
    if len(crops) < _SMALLEST or crops.shape[1] < training.size:
        raise UsageError(f"{len(crops)} crops of {crops.shape[1:]} pixels are too few or too small to train on")
    torch.manual_seed(training.seed)
    if training.device == "cpu":
        torch.set_num_threads(training.threads)
    net = net.to(training.device).train()
    counts = np.bincount(labels, minlength=int(labels.max()) + 1)
    share = torch.tensor(np.where(counts > 0, len(labels) / np.maximum(counts, 1) / (counts > 0).sum(), 0.0)).float()
    batches_an_epoch = max(1, len(labels) // training.batch)
    steps = training.epochs * batches_an_epoch
    optimiser = torch.optim.AdamW(net.parameters(), training.rate, weight_decay=1e-2)
    sums: list[float] = []
    for step, batch in enumerate(_batches(crops, labels, training)):
        rise = min(1.0, (step + 1) / max(1.0, _WARM_UP * steps))
        for group in optimiser.param_groups:
            group["lr"] = training.rate * rise * (0.01 + 0.495 * (1 + np.cos(np.pi * step / steps)))
        image, label = (torch.from_numpy(batch[n]).to(training.device) for n in ("image", "label"))
        scores = net(image)
        weight = share.to(training.device)[: scores.shape[1]]
        weight = nn.functional.pad(weight, (0, scores.shape[1] - len(weight)))
        loss = nn.functional.cross_entropy(scores, label, weight=weight)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        sums.append(float(loss.detach()))
        if report and len(sums) == batches_an_epoch:
            report(f"epoch {(step + 1) // batches_an_epoch} of {training.epochs}, loss {np.mean(sums):.3f}")
            sums.clear()
    return _settle(net, crops, training)


@torch.no_grad()
def _settle(net: GrayClassifier, crops: NDArray[np.uint8], training: Training) -> GrayClassifier:
    """Statistics of batch normalisation over the training crops, as the last weights give them.

    Those gathered on the way lag behind in short trainings, and `transformers` gives two of the networks a momentum
    with which they are of the last batch alone.
    """
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    chosen = np.random.default_rng(training.seed).permutation(len(crops))[:_SETTLING]
    # a last batch of one crop has no spread
    for start in range(0, max(1, len(chosen) - _SMALLEST + 1), training.batch):
        net.train()(_middle(crops[np.sort(chosen[start : start + training.batch])], training))
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    return net.eval()


def _middle(crops: NDArray[np.uint8], training: Training) -> Tensor:
    """What a network sees (N, 1, S, S) of crops (N, T, T) that are not shifted."""
    first = (crops.shape[1] - training.size) // 2
    middle = crops[:, None, first : first + training.size, first : first + training.size]
    return torch.from_numpy(middle.astype(np.float32) / 255).to(training.device)


def _batches(crops: NDArray[np.uint8], labels: NDArray[np.int64], training: Training) -> Iterator[Chunk]:
    """All batches of all epochs: ``image`` (B, 1, S, S) float32 in 0..1 and ``label`` (B,)."""
    rng = np.random.default_rng(training.seed)
    size, room = training.size, crops.shape[1] - training.size
    batch = min(training.batch, len(labels))
    for _ in range(training.epochs):
        order = rng.permutation(len(labels))
        for start in range(0, len(order) - batch + 1, batch):
            chosen = order[start : start + batch]
            images = np.empty((batch, 1, size, size), np.float32)
            for k, (index, (y, x)) in enumerate(zip(chosen, rng.integers(0, room + 1, (batch, 2)), strict=True)):
                crop = crops[index, y : y + size, x : x + size]
                images[k, 0] = crop[:, ::-1] if rng.random() < 0.5 else crop
            gain, lift = rng.uniform(0.7, 1.2, (batch, 1, 1, 1)), rng.uniform(-0.12, 0.12, (batch, 1, 1, 1))
            seen = np.clip((images / 255 - 0.5) * gain + 0.5 + lift, 0, 1).astype(np.float32)
            yield {"image": seen, "label": labels[chosen].astype(np.int64)}


@torch.no_grad()
def classify(net: GrayClassifier, crops: NDArray[np.uint8], training: Training) -> NDArray[np.int64]:
    """The class (N,) of the middle of each crop (N, T, T) uint8."""
    found = []
    for start in range(0, len(crops), 256):
        scores = net.eval()(_middle(crops[start : start + 256], training))
        found.append(scores.argmax(1).cpu().numpy())
    return np.concatenate(found).astype(np.int64) if found else np.zeros(0, np.int64)


def count_parameters(net: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(p.numel() for p in net.parameters())
