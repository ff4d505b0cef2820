"""Others that do what extraction does, each used as its own examples show.

A peer is made once and then called with files (JPEG bytes); it returns for each image boxes
`[n, 4]` (x1 y1 x2 y2) and unit vectors `[n, d]`, or `[n, 0]` where it makes none. Making one
raises `ImportError` where its package is not installed.

- opencv: FaceDetectorYN (score 0.6) at the image's size, alignCrop and FaceRecognizerSF, one
  image after the other, as they take no batches. Larger pictures than 1280 px are searched
  whole. The same weights as ours, dequantised.
- onnxruntime: the plain loop that most projects write: the same two networks as ONNX, OpenCV's
  decoding and alignment.
- dlib: HOG detector (upsampled once, as face_recognition does), five landmarks, its 128-d
  network. Other weights, and it finds other faces. `pip install dlib-bin face-recognition-models`
- facenet-pytorch: its MTCNN, detection and cropping only, since the weights of its embedder are
  downloaded at run time. `pip install --no-deps facenet-pytorch`
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from facecore.config import settings
from facecore.pipeline.extract import ExtractedImage
from facecore.pipeline.load import load_extractor
from facecore.pipeline.stream import stream
from facecore.zoo import registry, weights
from facecore.zoo.onnx_export import write_dequantised

Faces = list[tuple[np.ndarray, np.ndarray]]
Run = Callable[[list[bytes]], Faces]
INSTALL = {
    "opencv": "opencv-contrib-python-headless (requirements.txt)",
    "onnxruntime": "onnxruntime (requirements-dev.txt)",
    "dlib": "pip install dlib-bin face-recognition-models",
    "facenet-pytorch": "pip install --no-deps facenet-pytorch",
}


def facecore(threads: int, precision: str, backend: str) -> tuple[Run, dict[str, str]]:
    """Ours, through the streaming engine."""
    where = settings().cache, settings().model_dir
    detector, embedder = (registry.prepare(model, *where) for model in ("yunet", "sface"))
    extractor = load_extractor(
        *(detector.path, detector.sha256, embedder.path, embedder.sha256),
        device="cpu",
        precision=precision,
        threads=threads,
        backend=backend,
    )

    def run(files: list[bytes]) -> Faces:
        items = ((i, partial(bytes, data)) for i, data in enumerate(files))
        found: Faces = []
        for number, result in stream(items, extractor):
            assert isinstance(result, ExtractedImage), f"picture {number}: {result}"
            found.append((result.detections.boxes, result.embeddings.vectors))
        return found

    return run, extractor.describe()


def plain_onnx() -> dict[str, str]:
    """The published networks with float32 weights, as files."""
    where = settings().cache, settings().model_dir
    folder = Path(tempfile.mkdtemp(prefix="facecore-bench-"))
    return {
        model: str(write_dequantised(weights.fetch(model, *where), folder / f"{model}.onnx"))
        for model in ("yunet", "sface")
    }


def any_size(path: Path) -> None:
    """Let the published detector take pictures of any size; the file states 640 × 640 px only."""
    import onnx

    model = onnx.load(str(path))
    for value in (*model.graph.input, *model.graph.output):
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            dimension.dim_param = f"{value.name}_{axis}"
    onnx.save(model, str(path))


def unit(vectors: list[np.ndarray], count: int) -> np.ndarray:
    """`[count, d]` of unit length."""
    if not count:
        return np.zeros((0, 0), np.float32)
    stacked: np.ndarray = np.array(vectors, np.float32).reshape(count, -1)
    stacked /= np.linalg.norm(stacked, axis=1, keepdims=True)
    return stacked


def decoded(data: bytes) -> np.ndarray:
    """BGR, as OpenCV has it."""
    import cv2

    image: np.ndarray | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None, "the set holds a file that OpenCV cannot read"
    return image


def opencv(threads: int) -> tuple[Run, dict[str, str]]:
    """OpenCV's own pipeline."""
    import cv2

    cv2.setNumThreads(threads)
    plain = plain_onnx()
    detector = cv2.FaceDetectorYN.create(plain["yunet"], "", (250, 250), 0.6)
    recogniser = cv2.FaceRecognizerSF.create(plain["sface"], "")

    def run(files: list[bytes]) -> Faces:
        found: Faces = []
        for data in files:
            image = decoded(data)
            detector.setInputSize((image.shape[1], image.shape[0]))
            _, faces = detector.detect(image)
            faces = np.zeros((0, 15), np.float32) if faces is None else faces
            vectors = [recogniser.feature(recogniser.alignCrop(image, face))[0] for face in faces]
            boxes = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:4]], 1)
            found.append((boxes, unit(vectors, len(faces))))
        return found

    return run, {"opencv": cv2.__version__}


def onnxruntime(threads: int) -> tuple[Run, dict[str, str]]:
    """A loop over images with two sessions of ONNX Runtime."""
    import cv2
    import onnxruntime as ort
    import torchvision

    from facecore.zoo import yunet

    cv2.setNumThreads(threads)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    plain = plain_onnx()
    any_size(Path(plain["yunet"]))
    detector, embedder = (
        ort.InferenceSession(plain[model], options, providers=["CPUExecutionProvider"])
        for model in ("yunet", "sface")
    )
    aligner = cv2.FaceRecognizerSF.create(plain["sface"], "")

    def search(image: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        height, width = (-(-side // 32) * 32 for side in image.shape[:2])
        canvas = np.zeros((height, width, 3), np.uint8)
        canvas[: image.shape[0], : image.shape[1]] = image
        blob = canvas.transpose(2, 0, 1)[None].astype(np.float32)
        outputs = dict(
            zip(
                (output.name for output in detector.get_outputs()),
                detector.run(None, {detector.get_inputs()[0].name: blob}),
                strict=True,
            )
        )
        parts = []
        for stride in yunet.STRIDES:
            kinds = ("cls", "obj", "bbox", "kps")
            parts.append(np.concatenate([outputs[f"{kind}_{stride}"][0] for kind in kinds], 1))
        raw = torch.from_numpy(np.concatenate(parts))
        scores = (raw[:, 0].clamp(0, 1) * raw[:, 1].clamp(0, 1)).sqrt()
        (cells,) = torch.nonzero(scores >= 0.6, as_tuple=True)
        boxes, landmarks = yunet.decode(raw[cells], cells, height, width)
        kept = torchvision.ops.nms(boxes, scores[cells], 0.3)
        return boxes[kept], landmarks[kept], scores[cells][kept]

    def run(files: list[bytes]) -> Faces:
        found: Faces = []
        for data in files:
            image = decoded(data)
            boxes, landmarks, scores = search(image)
            vectors = []
            for box, points, score in zip(boxes, landmarks, scores, strict=True):
                size = box[2:] - box[:2]
                face = torch.cat([box[:2], size, points.ravel(), score[None]]).numpy()
                crop = aligner.alignCrop(image, face)[:, :, ::-1]
                blob = np.ascontiguousarray(crop.transpose(2, 0, 1)[None], np.float32)
                vectors.append(embedder.run(None, {embedder.get_inputs()[0].name: blob})[0][0])
            found.append((boxes.numpy(), unit(vectors, len(boxes))))
        return found

    return run, {"onnxruntime": ort.__version__}


def dlib(threads: int) -> tuple[Run, dict[str, str]]:
    """dlib with the models of face_recognition; it computes on one thread."""
    import dlib as library

    located = importlib.util.find_spec("face_recognition_models")
    if located is None or located.origin is None:
        raise ImportError("face_recognition_models")
    models = Path(located.origin).parent / "models"
    detector = library.get_frontal_face_detector()
    predictor = library.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
    encoder = library.face_recognition_model_v1(
        str(models / "dlib_face_recognition_resnet_model_v1.dat")
    )

    def run(files: list[bytes]) -> Faces:
        found: Faces = []
        for data in files:
            image = decoded(data)
            image = np.ascontiguousarray(image[:, :, ::-1])
            places = detector(image, 1)
            vectors = [
                np.array(encoder.compute_face_descriptor(image, predictor(image, place)))
                for place in places
            ]
            boxes = [(p.left(), p.top(), p.right(), p.bottom()) for p in places]
            found.append((np.array(boxes, np.float32).reshape(-1, 4), unit(vectors, len(places))))
        return found

    return run, {"dlib": library.__version__, "threads": "1"}


def facenet_pytorch(threads: int) -> tuple[Run, dict[str, str]]:
    """MTCNN with its defaults, all faces."""
    from facenet_pytorch import MTCNN

    torch.set_num_threads(threads)
    mtcnn = MTCNN(keep_all=True, device="cpu")

    def run(files: list[bytes]) -> Faces:
        found: Faces = []
        for data in files:
            image = decoded(data)
            image = np.ascontiguousarray(image[:, :, ::-1])
            boxes, _ = mtcnn.detect(image)
            places = np.asarray([] if boxes is None else boxes, np.float32).reshape(-1, 4)
            if len(places):
                mtcnn.extract(image, places, None)
            found.append((places, np.zeros((len(places), 0), np.float32)))
        return found

    return run, {"what": "detection and cropping only"}


PEERS: dict[str, Callable[[int], tuple[Run, dict[str, str]]]] = {
    "opencv": opencv,
    "onnxruntime": onnxruntime,
    "dlib": dlib,
    "facenet-pytorch": facenet_pytorch,
}
