"""What a registered version answers: bytes of images in, faces out.

`pyfunc_model.py` wraps this for MLflow. It needs only the version's own files, so the same
version answers the same on a serving machine, without registry or catalogue.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facecore.errors import ImageRejected
from facecore.lifecycle.closed_set import ClosedSet
from facecore.pipeline.extract import FaceExtractor
from facecore.pipeline.load import load_detector, load_extractor
from facecore.stages.decode import Limits, decode
from facecore.stages.workers import Workers
from facecore.types import Detections, Floats, Image
from facecore.zoo.device import resolve_device

WEIGHTS = "weights.safetensors"
DETECTOR_WEIGHTS = "detector.safetensors"
CONTRACT = "contract.json"
IDENTITIES = "identities.json"
# People named per face, likeliest first, by an embedder that also classifies.
TOP_IDENTITIES = 5
# Contracts of embedders made before other detectors existed name none.
DEFAULT_DETECTOR = "yunet"

_NUMBERS = {"type": "array", "items": {"type": "float"}}
_FACE: dict[str, Any] = {
    "box": {**_NUMBERS, "required": True},
    "score": {"type": "float", "required": True},
    "landmarks": {"type": "array", "items": _NUMBERS, "required": True},
}


def signature(task: str) -> dict[str, str]:
    """Inputs and outputs of a version for task "detect" or "embed", in MLflow's JSON form.

    In: `image`, the bytes of a file (base64 in JSON). Out, per image: `faces`, best score
    first: `box` x1 y1 x2 y2 and five `landmarks` x y in pixels of the upright image, `score`
    0..1 and, from an embedder, the unit-length `embedding`; and `error`, why an image could
    not be used (then `faces` is empty). An embedder that was also trained to tell the people of
    its training apart names the likeliest of them in `identities`, with `probability`; they sum
    to 1 over all of these people, whoever is on the picture.
    """
    face = dict(_FACE)
    if task == "embed":
        face["embedding"] = {**_NUMBERS, "required": True}
        named = {
            "name": {"type": "string", "required": True},
            "probability": {"type": "float", "required": True},
        }
        face["identities"] = {
            "type": "array",
            "items": {"type": "object", "properties": named},
            "required": False,
        }
    inputs = [{"name": "image", "type": "binary", "required": True}]
    outputs = [
        {
            "name": "faces",
            "type": "array",
            "items": {"type": "object", "properties": face},
            "required": True,
        },
        {"name": "error", "type": "string", "required": False},
    ]
    return {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)}


class FaceService:
    """A detector or a detector with embedder, made of the files of one registered version.

    Args:
        artifacts: artifact name → local path: `WEIGHTS`, `CONTRACT`, for an embedder
            `DETECTOR_WEIGHTS`, and `IDENTITIES` where it classifies.
        device: auto, cpu or cuda.

    Raises:
        DigestMismatch: a weights file is not the one that the contract names.
        WeightsError: a weights file is not of the network that the contract names.
        NotFound: the contract names a network this version of facecore does not have.
    """

    def __init__(self, artifacts: Mapping[str, str | Path], *, device: str = "auto") -> None:
        contract = json.loads(Path(artifacts[CONTRACT]).read_text(encoding="utf-8"))
        weights = Path(artifacts[WEIGHTS])
        self._limits = Limits()
        self._extractor: FaceExtractor | None = None
        self._closed_set: ClosedSet | None = None
        if contract["task"] == "embed":
            self._extractor = load_extractor(
                Path(artifacts[DETECTOR_WEIGHTS]),
                contract["embedding"]["detector_sha256"],
                weights,
                contract["embedding"]["weights_sha256"],
                detector=contract.get("detector", DEFAULT_DETECTOR),
                embedder=contract["embedding"]["embedder"],
                device=device,
            )
            self._detector = self._extractor.detector
            if IDENTITIES in artifacts:
                self._closed_set = ClosedSet.load(
                    contract["embedding"]["embedder"],
                    weights,
                    contract["embedding"]["weights_sha256"],
                    Path(artifacts[IDENTITIES]),
                )
        else:
            self._detector = load_detector(
                contract["model"],
                weights,
                contract["weights_sha256"],
                workers=Workers(resolve_device(device)),
            )

    def faces(self, files: Sequence[bytes]) -> list[dict[str, Any]]:
        """One answer per file, in order; see `signature`."""
        images: list[Image] = []
        errors: list[str | None] = []
        for data in files:
            try:
                images.append(decode(data, self._limits))
                errors.append(None)
            except ImageRejected as rejected:
                errors.append(f"{rejected.reason}: {rejected}")
        found = iter(self._run(images))
        return [{"faces": next(found) if error is None else [], "error": error} for error in errors]

    def _run(self, images: Sequence[Image]) -> list[list[dict[str, Any]]]:
        if self._extractor is None:
            return [_plain(found, None) for found in self._detector.detect(images)]
        answers = []
        for one in self._extractor.extract(images):
            faces = _plain(one.detections, one.embeddings.vectors)
            if self._closed_set is not None and faces:
                named = self._closed_set.identify(one.crops, top=TOP_IDENTITIES)
                for face, people in zip(faces, named, strict=True):
                    face["identities"] = [{"name": n, "probability": p} for n, p in people]
            answers.append(faces)
        return answers


def _plain(found: Detections, vectors: Floats | None) -> list[dict[str, Any]]:
    landmarks = found.landmarks
    if landmarks is None:
        landmarks = np.zeros((len(found), 0, 2), np.float32)
    faces = []
    for index in range(len(found)):
        face: dict[str, Any] = {
            "box": found.boxes[index].tolist(),
            "score": float(found.scores[index]),
            "landmarks": landmarks[index].tolist(),
        }
        if vectors is not None:
            face["embedding"] = vectors[index].tolist()
        faces.append(face)
    return faces
