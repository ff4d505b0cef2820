"""Weights on disk → a ready detector or `FaceExtractor`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from facecore.errors import ConfigError, NotFound
from facecore.pipeline.extract import FaceExtractor
from facecore.stages.detect import FaceDetector
from facecore.stages.detect_regions import RegionFaceDetector
from facecore.stages.detector import Detector
from facecore.stages.embed import FaceEmbedder
from facecore.stages.workers import Workers
from facecore.types import Contract
from facecore.zoo import registry, yunet
from facecore.zoo.device import resolve_device, resolve_precision, use_threads
from facecore.zoo.graph_store import GraphStore
from facecore.zoo.region_detector import RegionDetector

_log = logging.getLogger(__name__)


def load_detector(
    name: str,
    path: Path,
    sha256: str,
    *,
    workers: Workers | None = None,
    score_threshold: float = 0.6,
    nms_iou: float = 0.3,
    sides_px: Sequence[int] = (320, 1280),
    batch_images: int = 32,
    backend: str = "auto",
    graphs: Path | None = None,
) -> Detector:
    """Any registered detector from its weights. This is the one place that tells them apart.

    Args:
        name: registered name, such as yunet or ssdlite.
        path: its weights (safetensors); options with which it was made stand in the file.
        sha256: what the file must hash to.
        workers: where and with how many threads it runs.
        score_threshold: candidates below are dropped, 0..1.
        nms_iou: of two boxes overlapping more than this, the better one stays.
        sides_px: longest sides at which YuNet searches. The others have a size of their own,
            and get images of at most the largest of these sides.
        batch_images: images searched at once.
        backend: auto, torch or openvino: what computes YuNet (`zoo.backend`). The others are
            several networks with decisions between them, which only torch computes.
        graphs: folder of networks that were traced and checked before, which is filled by this
            call; see `zoo.graph_store`. None: they are traced and checked each time.

    Raises:
        NotFound: no such detector; the remedy lists them.
        DigestMismatch, WeightsError: the weights are missing, damaged or of another network.
        ConfigError: a value that cannot work.
    """
    require_detector(name)
    network = registry.load(name, path, sha256)
    if isinstance(network, yunet.YuNet):
        return FaceDetector(
            network,
            workers=workers,
            score_threshold=score_threshold,
            nms_iou=nms_iou,
            sides_px=sides_px,
            batch_images=batch_images,
            backend=backend,
            kept=None if graphs is None else GraphStore(graphs, sha256),
        )
    if not sides_px:
        raise ConfigError(f"detection sides must be ≥ 32 px, got {sides_px}.")
    assert isinstance(network, RegionDetector)  # noqa: S101 (for the type checker)
    if backend == "openvino":
        raise ConfigError(
            f"OpenVINO cannot compute {name}: it decides between its networks.",
            remedy="Set backend to auto or torch.",
        )
    _log.info("%s is computed by torch: no other backend takes it.", name)
    return RegionFaceDetector(
        network,
        workers=workers,
        score_threshold=score_threshold,
        nms_iou=nms_iou,
        longest_px=max(sides_px),
        batch_images=batch_images,
    )


def require_detector(name: str) -> None:
    """Raise `NotFound`, listing the known detectors, unless `name` is one."""
    known = [spec.name for spec in registry.list_models("detect")]
    if name not in known:
        raise NotFound("detector", name, remedy=f"Known detectors: {', '.join(known)}.")


def load_extractor(
    detector_weights: Path,
    detector_sha256: str,
    embedder_weights: Path,
    embedder_sha256: str,
    *,
    detector: str = "yunet",
    embedder: str = "sface",
    device: str = "auto",
    precision: str = "auto",
    threads: int = 0,
    score_threshold: float = 0.6,
    nms_iou: float = 0.3,
    sides_px: Sequence[int] = (320, 1280),
    batch_images: int = 32,
    batch_crops: int = 64,
    backend: str = "auto",
    graphs: Path | None = None,
) -> FaceExtractor:
    """The extraction pipeline from converted (safetensors) weights.

    Args:
        detector_weights, embedder_weights: files made by `zoo.registry.prepare` or `save`.
        detector_sha256, embedder_sha256: what those files must hash to.
        detector, embedder: registered names of the networks.
        device: auto, cpu, cuda or cuda:N.
        precision: auto, fp32, bf16 or fp16, of the embedder (see `stages.detect` for why the
            detector always uses fp32).
        threads: of torch in this process; 0 takes all usable cores.
        score_threshold, nms_iou, sides_px, batch_images: see `load_detector`.
        batch_crops: see `FaceEmbedder`.
        backend: auto, torch or openvino: what computes on a CPU; see `zoo.backend`.
        graphs: see `load_detector`.

    Raises:
        DeviceUnavailable: CUDA was asked for and is absent.
        DigestMismatch, WeightsError: the weights are missing, damaged or of another network.
        ConfigError, NotFound: a name or value that does not exist.
    """
    where = resolve_device(device)
    dtype = resolve_precision(precision, where)
    workers = Workers(where, use_threads(threads))
    finder = load_detector(
        detector,
        detector_weights,
        detector_sha256,
        workers=workers,
        score_threshold=score_threshold,
        nms_iou=nms_iou,
        sides_px=sides_px,
        batch_images=batch_images,
        backend=backend if detector == "yunet" else "auto",
        graphs=graphs,
    )
    network = registry.load(embedder, embedder_weights, embedder_sha256)
    contract = Contract(
        embedder=embedder,
        weights_sha256=embedder_sha256,
        dimension=registry.network_dimension(network),
        detector_sha256=detector_sha256,
    )
    embed = FaceEmbedder(
        network,
        contract,
        workers=workers,
        dtype=dtype,
        batch_crops=batch_crops,
        backend=backend,
        kept=None if graphs is None else GraphStore(graphs, embedder_sha256),
    )
    extractor = FaceExtractor(finder, embed, workers)
    _log.info("extraction: %s", extractor.describe())
    return extractor
