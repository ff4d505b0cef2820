"""Weights on disk → a ready `FaceExtractor`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facecore.errors import ConfigError
from facecore.pipeline.extract import FaceExtractor
from facecore.stages.detect import FaceDetector
from facecore.stages.embed import FaceEmbedder
from facecore.stages.workers import Workers
from facecore.types import Contract
from facecore.zoo import registry, yunet
from facecore.zoo.device import resolve_device, resolve_precision, use_threads


def load_extractor(
    detector_weights: Path,
    detector_sha256: str,
    embedder_weights: Path,
    embedder_sha256: str,
    *,
    embedder: str = "sface",
    device: str = "auto",
    precision: str = "auto",
    threads: int = 0,
    score_threshold: float = 0.6,
    nms_iou: float = 0.3,
    sides_px: Sequence[int] = (320, 1280),
    batch_images: int = 32,
    batch_crops: int = 64,
) -> FaceExtractor:
    """The extraction pipeline from converted (safetensors) weights.

    Args:
        detector_weights, embedder_weights: files made by `zoo.registry.prepare`.
        detector_sha256, embedder_sha256: what those files must hash to.
        embedder: registered name of the embedding network.
        device: auto, cpu, cuda or cuda:N.
        precision: auto, fp32, bf16 or fp16, of the embedder (see `stages.detect` for why the
            detector always uses fp32).
        threads: of torch in this process; 0 takes all usable cores.
        score_threshold, nms_iou, sides_px, batch_images: see `FaceDetector`.
        batch_crops: see `FaceEmbedder`.

    Raises:
        DeviceUnavailable: CUDA was asked for and is absent.
        DigestMismatch, WeightsError: the weights are missing, damaged or of another network.
        ConfigError, NotFound: a name or value that does not exist.
    """
    where = resolve_device(device)
    dtype = resolve_precision(precision, where)
    workers = Workers(where, use_threads(threads))
    detector = registry.load("yunet", detector_weights, detector_sha256)
    assert isinstance(detector, yunet.YuNet)  # noqa: S101 (for the type checker)
    dimension = registry.spec(embedder).dimension
    if dimension is None:
        raise ConfigError(f"model {embedder!r} is not an embedder.")
    contract = Contract(
        embedder=embedder,
        weights_sha256=embedder_sha256,
        dimension=dimension,
        detector_sha256=detector_sha256,
    )
    network = registry.load(embedder, embedder_weights, embedder_sha256)
    return FaceExtractor(
        FaceDetector(
            detector,
            workers=workers,
            score_threshold=score_threshold,
            nms_iou=nms_iou,
            sides_px=sides_px,
            batch_images=batch_images,
        ),
        FaceEmbedder(network, contract, workers=workers, dtype=dtype, batch_crops=batch_crops),
        workers,
    )
