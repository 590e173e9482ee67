"""Users' models behind our protocols, on imitations of their files and packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import onnx
import pytest
import tiny_models
from onnx import TensorProto, helper, numpy_helper

from thermvision.annotations.adapters import facenet, haar, tfake, yunet
from thermvision.annotations.adapters.haar import HaarDetector
from thermvision.annotations.adapters.liveportrait import LivePortraitLandmarker, first_window, window
from thermvision.annotations.adapters.mtcnn import MtcnnDetector
from thermvision.annotations.adapters.tfake import TfakeLandmarker
from thermvision.annotations.adapters.yolo5face import Yolo5FaceDetector, letterbox
from thermvision.annotations.adapters.yunet import YuNetDetector
from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, UsageError
from thermvision.annotations.faces import Detections, FaceDetector, FaceLandmarker


def boxes(*rows: list[float], points: np.ndarray | None = None) -> Detections:
    keypoints = np.full((len(rows), 5, 2), np.nan) if points is None else points
    return Detections(np.array(rows, np.float32), np.ones(len(rows)), keypoints)


# YOLO5Face -----------------------------------------------------------------------------------------------------------


def yolo_rows() -> np.ndarray:
    rows = np.zeros((30, 16), np.float32)
    points = np.array([[300, 200], [340, 200], [320, 220], [305, 240], [335, 240]])
    rows[3] = [320, 220, 80, 100, 0.9, *points.ravel(), 0.8]
    rows[4] = [322, 221, 80, 100, 0.9, *points.ravel(), 0.7]  # the same face again
    rows[9] = [100, 320, 40, 40, 0.5, *(points - 200).ravel(), 1.0]
    rows[20] = [500, 320, 40, 40, 0.9, *points.ravel(), 0.1]  # below the threshold
    return rows


@pytest.mark.parametrize("shape", [(1, 3, 640, 640), ("N", 3, "H", "W"), (1, 1, 640, 640)])
def test_yolo5face_letterboxes(tmp_path: Path, shape: tuple[object, ...]) -> None:
    path = tiny_models.answers(tmp_path / "yolo.onnx", {"output": yolo_rows()}, "images", shape)
    detector = Yolo5FaceDetector(path)
    assert isinstance(detector, FaceDetector)
    # 1280 x 640 shrinks by two to 640 x 320, with 160 rows above
    first, second = detector.detect([np.zeros((640, 1280), np.uint8)] * 2)
    assert first.scores == pytest.approx([0.72, 0.5])
    np.testing.assert_allclose(first.bboxes[0], [560, 20, 160, 200], atol=1e-3)
    np.testing.assert_allclose(first.bboxes[1], [160, 280, 80, 80], atol=1e-3)
    np.testing.assert_allclose(first.keypoints[0, 2], [640, 120], atol=1e-3)
    assert second.bboxes.tolist() == first.bboxes.tolist()


def test_yolo5face_pixels_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_models.answers(tmp_path / "yolo.onnx", {"output": yolo_rows()}, "images", (1, 3, 64, 64))
    detector = Yolo5FaceDetector(path)
    seen = []
    run = detector._model.run
    monkeypatch.setattr(detector._model, "run", lambda inputs: seen.append(inputs["images"].copy()) or run(inputs))
    frame = np.random.default_rng(0).integers(0, 256, (32, 64), dtype=np.uint8)
    detector.detect([frame])
    (image,) = seen
    np.testing.assert_allclose(image[0, 2, 16:48], frame / 255, atol=1e-6)
    np.testing.assert_allclose(image[0, :, :16], 114 / 255, atol=1e-6)
    np.testing.assert_allclose(image[0, :, 48:], 114 / 255, atol=1e-6)


def test_letterbox_enlarges_too() -> None:
    small, left, top = letterbox(np.full((10, 20), 9, np.uint8), 64, 64)
    assert (small.shape, left, top) == ((32, 64), 0, 16)
    assert (small == 9).all()


def test_yolo5face_refuses(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="allowed: one image"):
        Yolo5FaceDetector(tiny_models.answers(tmp_path / "a.onnx", {"output": [1.0]}, "images", (1, 5, 32, 32)))
    raw = tiny_models.answers(tmp_path / "b.onnx", {"output": np.zeros((3, 80, 80))}, "images", (1, 3, 32, 32))
    with pytest.raises(UsageError, match=r"allowed: \(1, K, 16\)"):
        Yolo5FaceDetector(raw).detect([np.zeros((32, 32), np.uint8)])


# YuNet ---------------------------------------------------------------------------------------------------------------


def yunet_file(path: Path) -> Path:
    """YuNet's twelve outputs for an input of 64 x 64: one face at stride 16, cell (1, 2), and nothing else."""
    nodes, outputs, constants = [], [], []
    nodes.append(helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=0))
    constants.append(numpy_helper.from_array(np.zeros(1, np.float32), "zero"))
    nodes.append(helper.make_node("Mul", ["mean", "zero"], ["nothing"]))
    for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in (8, 16, 32):
            value = np.zeros((1, (64 // stride) ** 2, width), np.float32)
            if stride == 16:
                # row 1, column 2; bbox: shift of the centre in cells, logarithm of the size in cells
                values = {"cls": [0.81], "obj": [1.0], "bbox": [0.5, 0.25, np.log(1.5), np.log(2)]}
                value[0, 1 * 4 + 2] = values.get(kind, np.arange(10) / 10)
            name = f"{kind}_{stride}"
            constants.append(numpy_helper.from_array(value, f"{name}_value"))
            nodes.append(helper.make_node("Add", [f"{name}_value", "nothing"], [name]))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 64, 64])
    graph = helper.make_graph(nodes, "yunet", [image], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def test_yunet(tmp_path: Path) -> None:
    threads = cv2.getNumThreads()
    detector = YuNetDetector(yunet_file(tmp_path / "yunet.onnx"))
    found, again = detector.detect([np.zeros((64, 64), np.uint8)] * 2)
    assert found.scores == pytest.approx([0.9])
    # centre (2.5, 1.25) cells, size (1.5, 2) cells of 16 px
    np.testing.assert_allclose(found.bboxes, [[40 - 12, 20 - 16, 24, 32]], atol=1e-3)
    np.testing.assert_allclose(found.keypoints[0, 0], [16 * 2.0, 16 * 1.1], atol=1e-3)
    assert again.bboxes.tolist() == found.bboxes.tolist()
    assert detector.source.startswith("yunet@")
    assert cv2.getNumThreads() == threads


def test_yunet_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(DamagedInputError, match="cannot be read as YuNet"):
        YuNetDetector(path)
    monkeypatch.delattr(yunet.cv2, "FaceDetectorYN")
    with pytest.raises(MissingDependencyError, match="pip install"):
        YuNetDetector(path)


# Haar ----------------------------------------------------------------------------------------------------------------


class _Cascade:
    """Stands where OpenCV 4 has its class."""

    def __init__(self, path: str) -> None:
        self.path = path

    def empty(self) -> bool:
        return "broken" in self.path

    def detectMultiScale(  # noqa: N802  (OpenCV's name)
        self, frame: np.ndarray, *args: object, minSize: tuple[int, int]
    ) -> np.ndarray:
        assert minSize == (30, 30)
        return np.array([[1, 2, 30, 30], [5, 6, 50, 50]]) if frame.any() else ()


def test_haar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haar.cv2, "CascadeClassifier", _Cascade, raising=False)
    path = tmp_path / "cascade.xml"
    path.write_text("<x/>")
    detector = HaarDetector(path, min_face=30)
    found, nothing = detector.detect([np.ones((90, 90), np.uint8), np.zeros((90, 90), np.uint8)])
    assert found.bboxes.tolist() == [[5, 6, 50, 50], [1, 2, 30, 30]]
    assert found.scores.tolist() == [1, 1]
    assert np.isnan(found.keypoints).all()
    assert len(nothing) == 0
    with pytest.raises(MissingDependencyError, match="is no file"):
        HaarDetector(tmp_path / "none.xml")
    (tmp_path / "broken.xml").write_text("")
    with pytest.raises(DamagedInputError, match="is no Haar cascade"):
        HaarDetector(tmp_path / "broken.xml")


def test_haar_without_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(haar.cv2, "CascadeClassifier", raising=False)
    with pytest.raises(MissingDependencyError, match=r"type: pip install 'opencv-python-headless<5'"):
        HaarDetector()


# LivePortrait --------------------------------------------------------------------------------------------------------

FIVE = np.array([(100, 110), (160, 100), (135, 140), (112, 178), (158, 170)], float)


def test_the_window_is_the_published_one() -> None:
    # golden values of the reference's crop of these five points
    matrix = window(FIVE, 512, scale=2.3, shift=-0.125)
    expected = [[2.9871645, -0.2164616, -109.602875], [0.2164616, 2.9871645, -124.65466]]
    np.testing.assert_allclose(matrix, expected, rtol=1e-6, atol=1e-4)


def test_the_first_window_turns_with_the_face() -> None:
    upright = first_window([100, 100, 60, 80], np.full((5, 2), np.nan), 240)
    np.testing.assert_allclose(upright, [[2, 0, 120 - 260], [0, 2, 120 - 280]])
    turned = first_window([100, 100, 60, 80], FIVE, 240)
    np.testing.assert_allclose(turned[:, :2] @ (130, 140) + turned[:, 2], [120, 120])
    assert np.linalg.det(turned[:, :2]) == pytest.approx(4)
    with pytest.raises(ValueError, match="there are 7 points"):
        window(np.zeros((7, 2)), 224)


def landmark_203(path: Path, points: np.ndarray, shape: tuple[object, ...] = (1, 3, 224, 224)) -> Path:
    """The published file's three outputs, of which the last one counts."""
    values = {"coefficients": np.zeros(214), "other": np.zeros(262), "points": points.ravel()}
    return tiny_models.answers(path, values, "input", shape)


def points_203() -> np.ndarray:
    """Points in parts of the crop whose window is the crop itself, so that laying it anew changes nothing."""
    rng = np.random.default_rng(3)
    points = rng.uniform(1 / 6, 5 / 6, (203, 2))
    points[0], points[1] = (1 / 6, 1 / 6), (5 / 6, 5 / 6)
    return points


@pytest.mark.parametrize("shape", [(1, 3, 224, 224), ("N", 3, 224, 224)])
def test_203_points_are_mapped_back(tmp_path: Path, shape: tuple[object, ...]) -> None:
    points = points_203()
    model = LivePortraitLandmarker(landmark_203(tmp_path / "lmk.onnx", points, shape), rounds=1)
    assert isinstance(model, FaceLandmarker)
    found = model.points(np.zeros((400, 400), np.uint8), boxes([100, 100, 80, 100], [200, 50, 40, 40]))
    np.testing.assert_allclose(found[0], 140 - 75 + points * 150 + (0, 10), atol=1e-3)
    np.testing.assert_allclose(found[1], (220 - 30, 70 - 30) + points * 60, atol=1e-3)
    shapes = model.locate(np.zeros((400, 400), np.uint8), boxes([100, 100, 80, 100]))
    assert shapes[0] is not None
    assert shapes[0].landmarks.shape == (68, 2)
    np.testing.assert_allclose(shapes[0].landmarks[36], found[0, 0], atol=1e-3)
    assert model.locate(np.zeros((9, 9), np.uint8), Detections()) == []


def test_203_crops_are_laid_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = points_203()
    model = LivePortraitLandmarker(landmark_203(tmp_path / "lmk.onnx", points))
    frame = np.full((300, 300), 255, np.uint8)
    seen = []
    run = model._model.run
    monkeypatch.setattr(model._model, "run", lambda inputs: seen.append(inputs["input"].copy()) or run(inputs))
    found = model.points(frame, boxes([-50, 100, 80, 80]))
    assert len(seen) == 2
    assert seen[0].max() == 1.0
    assert (seen[0][0, :, :, :80] == 0).all()  # black beyond the frame
    first = np.array([-10 - 60, 140 - 60]) + points * 120
    again = window(first, 224)
    np.testing.assert_allclose(found[0] @ again[:, :2].T + again[:, 2], points * 224, atol=1e-2)


def test_203_refuses(tmp_path: Path) -> None:
    other = tiny_models.answers(tmp_path / "a.onnx", {"points": np.zeros(212)}, "input", (1, 3, 224, 224))
    with pytest.raises(UsageError, match="an output with 406 values"):
        LivePortraitLandmarker(other).locate(np.zeros((90, 90), np.uint8), boxes([10, 10, 30, 30]))
    with pytest.raises(UsageError, match="rounds is 0"):
        LivePortraitLandmarker(other, rounds=0)


# thermal-face-alignment ----------------------------------------------------------------------------------------------


class _ThermalLandmarks:
    """The package's class, as far as the adapter knows it: its hook for a detector, and process()."""

    def __init__(self, model_path: str | None, device: str, n_landmarks: int) -> None:
        if model_path is None:
            raise RuntimeError("no network")
        if Path(model_path).name == "bad.pt":
            raise ValueError("no weights")
        self.face_tracker = self._landmarker_cls(device=device)
        self.n_landmarks = n_landmarks

    def process(self, image: np.ndarray, multi: bool, mode: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
        assert (image.dtype, multi, mode) == (np.uint8, True, "pixel")
        faces = self.face_tracker.detect(image)
        centres = [np.array(f["box"]).reshape(2, 2).mean(0) for f in faces]
        points = [centre + np.arange(self.n_landmarks)[:, None] for centre in centres]
        return points, [np.ones(self.n_landmarks) for _ in faces]


@pytest.fixture
def tfan(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("tfan")
    module.ThermalLandmarks = _ThermalLandmarks  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tfan", module)
    monkeypatch.setattr(tfake, "find_spec", lambda name: True)
    return module


def test_tfake(tmp_path: Path, tfan: ModuleType) -> None:
    weights = tmp_path / "w.pt"
    weights.write_bytes(b"x")
    model = TfakeLandmarker(weights)
    assert isinstance(model, FaceLandmarker)
    frame = np.zeros((99, 99), np.uint8)
    one, two = model.locate(frame, boxes([10, 20, 30, 40], [50, 50, 10, 10]))
    assert one is not None
    assert two is not None
    assert one.landmarks.tolist() == [[25 + i, 40 + i] for i in range(68)]
    assert two.landmarks.tolist() == [[55 + i, 55 + i] for i in range(68)]
    assert model.source.startswith("tfake@70-")
    assert model.locate(frame, Detections()) == []
    (tmp_path / "bad.pt").write_bytes(b"x")
    with pytest.raises(DamagedInputError, match="holds no weights of thermal-face-alignment: no weights"):
        TfakeLandmarker(tmp_path / "bad.pt")
    with pytest.raises(MissingDependencyError, match="cannot get its weights: no network"):
        TfakeLandmarker()
    with pytest.raises(MissingDependencyError, match="is no file of weights"):
        TfakeLandmarker(tmp_path / "none.pt")


def test_tfake_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfake, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="type: pip install thermal-face-alignment"):
        TfakeLandmarker()


# facenet-pytorch -----------------------------------------------------------------------------------------------------


def test_facenet_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(facenet, "find_spec", lambda name: True if name == "torch" else None)
    monkeypatch.delitem(sys.modules, "facenet_pytorch", raising=False)
    with pytest.raises(MissingDependencyError, match="type: pip install --no-deps facenet-pytorch"):
        MtcnnDetector()
    monkeypatch.setattr(facenet, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="needs torch"):
        facenet.FacenetEmbedder(tmp_path / "w.pt")


PACKAGE = '''
import torch
from torchvision.ops.boxes import batched_nms
from torchvision.transforms import functional as F

class MTCNN:
    """Two faces where the frame is bright; the package's error where it is too small."""
    def __init__(self, keep_all, select_largest, min_face_size, thresholds):
        assert keep_all and not select_largest and thresholds[:2] == [0.6, 0.7]
        self.least = min_face_size
    def detect(self, image, landmarks):
        import numpy as np
        assert image.shape[2] == 3 and landmarks
        if min(image.shape[:2]) < self.least:
            raise ValueError("torch.cat(): expected a non-empty list of Tensors")
        if not image.any():
            return None, [None], None
        boxes = np.array([[10, 20, 40, 60], [50, 50, 70, 80]], np.float32)
        return boxes, np.array([0.7, 0.9]), np.ones((2, 5, 2)) * [[[1]], [[2]]]

class InceptionResnetV1(torch.nn.Module):
    """The mean of each channel."""
    def __init__(self, pretrained):
        super().__init__()
        assert pretrained is None
        self.scale = torch.nn.Parameter(torch.ones(512))
    def forward(self, x):
        return torch.nn.functional.normalize(x.mean((1, 2, 3))[:, None] * self.scale)
'''


@pytest.fixture
def imitation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    (tmp_path / "facenet_pytorch.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "facenet_pytorch", raising=False)
    find = facenet.find_spec
    monkeypatch.setattr(facenet, "find_spec", lambda name: None if name == "torchvision" else find(name))
    yield
    sys.modules.pop("facenet_pytorch", None)


@pytest.mark.usefixtures("imitation")
def test_mtcnn_without_torchvision() -> None:
    detector = MtcnnDetector(min_face=20)
    assert not [name for name in sys.modules if name.startswith("torchvision")]
    package = sys.modules["facenet_pytorch"]
    assert package.batched_nms is facenet.batched_nms  # type: ignore[attr-defined]
    assert package.F.to_tensor is facenet.to_tensor  # type: ignore[attr-defined]
    frames = [np.full((90, 90), 200, np.uint8), np.zeros((90, 90), np.uint8), np.full((9, 90), 200, np.uint8)]
    found, nothing, small = detector.detect(frames)
    assert found.bboxes.tolist() == [[50, 50, 20, 30], [10, 20, 30, 40]]
    assert found.scores == pytest.approx([0.9, 0.7])
    assert found.keypoints[:, 0, 0].tolist() == [2, 1]
    assert (len(nothing), len(small)) == (0, 0)


@pytest.mark.usefixtures("imitation")
def test_facenet_embedder(tmp_path: Path) -> None:
    import torch

    weights = tmp_path / "w.pt"
    torch.save({"scale": torch.arange(512.0), "logits.weight": torch.zeros(3)}, weights)
    embedder = facenet.FacenetEmbedder(weights)
    crops = np.full((2, 160, 160), 255, np.uint8)
    crops[1] = 0
    vectors = embedder.embed(crops)
    expected = np.arange(512) / np.linalg.norm(np.arange(512))
    np.testing.assert_allclose(vectors, [expected, -expected], atol=1e-6)
    assert embedder.source.startswith("w@")
    points = np.array([[60, 70], [90, 70], [75, 85], [62, 100], [88, 100]])
    assert embedder.embed(np.full((200, 200), 255, np.uint8), points[None]).shape == (1, 512)
    assert embedder.embed(crops[:0]).shape == (0, 512)
    (tmp_path / "bad.pt").write_bytes(b"junk")
    torch.save({"other": torch.zeros(2)}, tmp_path / "other.pt")
    for name in ("bad", "other"):
        with pytest.raises(DamagedInputError, match=r"holds no weights of InceptionResnetV1.*fetch https://"):
            facenet.FacenetEmbedder(tmp_path / f"{name}.pt")
    with pytest.raises(MissingDependencyError, match="is no file of weights"):
        facenet.FacenetEmbedder(tmp_path / "none.pt")


def test_batched_nms() -> None:
    import torch

    corners = torch.tensor([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [30, 30, 31, 31.0]])
    scores, groups = torch.tensor([0.5, 0.9, 0.4, 0.95]), torch.tensor([0, 0, 1, 0])
    assert facenet.batched_nms(corners, scores, groups, 0.5).tolist() == [3, 1, 2]
    assert facenet.batched_nms(corners, scores, groups, 0.9).tolist() == [3, 1, 0, 2]
    assert facenet.batched_nms(corners[:0], scores[:0], groups[:0], 0.5).tolist() == []


def test_to_tensor() -> None:
    image = np.arange(24).reshape(2, 4, 3)
    assert facenet.to_tensor(np.float32(image)).tolist() == image.transpose(2, 0, 1).tolist()
    assert facenet.to_tensor(np.uint8(image * 10))[1, 0].tolist() == pytest.approx(
        [v * 10 / 255 for v in (1, 4, 7, 10)]
    )
    assert facenet.to_tensor(np.zeros((5, 6), np.uint8)).shape == (1, 5, 6)
