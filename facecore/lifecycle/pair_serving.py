"""What a registered matcher answers: two images in, how likely they show one person out.

`pyfunc_matcher.py` wraps this for MLflow. It needs only the version's own files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from facecore.errors import ImageRejected, WeightsError
from facecore.lifecycle.main_face import main_face
from facecore.pipeline.load import load_extractor
from facecore.stages.decode import Limits, decode
from facecore.types import Floats
from facecore.zoo import registry
from facecore.zoo.siamese import SiameseMatcher


def signature() -> dict[str, str]:
    """Inputs and outputs in MLflow's JSON form.

    In: `first` and `second`, the bytes of two files (base64 in JSON), each of one person. Out:
    `probability` 0..1 that they are the same person, calibrated for pairs of which half are;
    or `error`, why it could not be said.
    """
    inputs = [{"name": name, "type": "binary", "required": True} for name in ("first", "second")]
    outputs = [
        {"name": "probability", "type": "double", "required": False},
        {"name": "error", "type": "string", "required": False},
    ]
    return {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)}


class PairService:
    """A matcher with embedder and detector, made of the files of one registered version.

    Args:
        artifacts: artifact name → local path: `weights.safetensors`, `embedder.safetensors`,
            `detector.safetensors`, `contract.json`.
        device: auto, cpu or cuda, of detector and embedder.

    Raises:
        DigestMismatch: a weights file is not the one that the contract names.
        WeightsError: the matcher is of a kind this version of facecore cannot run.
    """

    def __init__(self, artifacts: Mapping[str, str | Path], *, device: str = "auto") -> None:
        contract = json.loads(Path(artifacts["contract.json"]).read_text(encoding="utf-8"))
        embedding = contract["embedding"]
        self._limits = Limits()
        self._extractor = load_extractor(
            Path(artifacts["detector.safetensors"]),
            embedding["detector_sha256"],
            Path(artifacts["embedder.safetensors"]),
            embedding["weights_sha256"],
            detector=contract["detector"],
            embedder=embedding["embedder"],
            device=device,
        )
        head = registry.load(
            contract["model"], Path(artifacts["weights.safetensors"]), contract["weights_sha256"]
        )
        if not isinstance(head, SiameseMatcher):
            raise WeightsError(f"{contract['model']} is not a matcher that can be served.")
        self._head = head

    @torch.inference_mode()
    def compare(self, pairs: Sequence[tuple[bytes, bytes]]) -> list[dict[str, Any]]:
        """One answer per pair, in order; see `signature`."""
        answers: list[dict[str, Any]] = []
        for pair in pairs:
            vectors: list[Floats] = []
            error = None
            for place, data in zip(("first", "second"), pair, strict=True):
                try:
                    vectors.append(self._vector(data))
                except ImageRejected as rejected:
                    error = error or f"{place} image: {rejected.reason}: {rejected}"
            probability = None
            if error is None:
                a, b = (torch.from_numpy(vector)[None] for vector in vectors)
                probability = float(self._head.probability(a, b))
            answers.append({"probability": probability, "error": error})
        return answers

    def _vector(self, data: bytes) -> Floats:
        image = decode(data, self._limits)
        (found,) = self._extractor.extract([image])
        face = main_face(found.detections, found.width, found.height)
        if face is None:
            raise ImageRejected("no_face", "no face was found.")
        vector: Floats = found.embeddings.vectors[face]
        return vector
