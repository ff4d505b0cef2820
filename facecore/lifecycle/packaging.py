"""Weights on disk → what is registered: files, contract, signature, example, card.

The unit of promotion is an embedder version: it names the detector whose crops it embeds and
carries that detector's weights. So a new detector comes into use by `paired_with`, which puts
it beside an embedder that is registered already.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from facecore.errors import ContractMismatch, NotFound
from facecore.lifecycle.thresholds import Calibration
from facecore.stores.registry import CALIBRATION, WEIGHTS, ModelPackage, ModelVersionInfo
from facecore.types import CROP_SIZE, Contract

DETECTOR_WEIGHTS = "detector.safetensors"
EMBEDDER_WEIGHTS = "embedder.safetensors"
CONTRACT = "contract.json"
IDENTITIES = "identities.json"
DEFAULT_DETECTOR = "yunet"
_REQUIREMENTS = ("facecore", "torch", "torchvision", "safetensors", "numpy", "pandas", "pillow")


@dataclass(frozen=True, slots=True)
class Weights:
    """A network's weights file.

    Attributes:
        model: registered name in the zoo.
        sha256: of the file.
        source_sha256: of the published file it was converted from, if it was.
    """

    model: str
    path: Path
    sha256: str
    source_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a version besides its files.

    Attributes:
        card: Markdown; becomes the version's description.
        metrics: measured, for the version's run.
        tags: facts to find the version by, such as its data set.
        run_id: MLflow run that trained it; without, registering makes a run.
    """

    card: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None


def embedding_contract(embedder: Weights, dimension: int, detector_sha256: str) -> Contract:
    """What the embeddings of this pair of networks depend on."""
    return Contract(
        embedder=embedder.model,
        weights_sha256=embedder.sha256,
        dimension=dimension,
        detector_sha256=detector_sha256,
    )


def detector_package(
    name: str, detector: Weights, evidence: Evidence, scratch: Path
) -> ModelPackage:
    """A detector as a version of the registered model `name`.

    Args:
        scratch: folder for the files that are written here; it has to live until the
            package is registered.
    """
    contract = {"task": "detect", "model": detector.model, "weights_sha256": detector.sha256}
    files = {
        WEIGHTS: detector.path,
        CONTRACT: _write(scratch, f"{detector.model}-contract", contract),
    }
    return _package(name, detector, contract, files, evidence)


def embedder_package(
    name: str,
    embedder: Weights,
    dimension: int,
    detector: Weights,
    calibration: Calibration | None,
    evidence: Evidence,
    scratch: Path,
    *,
    identities: Sequence[str] = (),
) -> ModelPackage:
    """An embedder with its detector as a version of the registered model `name`.

    Args:
        identities: names of the classes of its own classifier, in its order.

    Raises:
        ContractMismatch: the calibration is of another pair of networks.
    """
    embedding = embedding_contract(embedder, dimension, detector.sha256)
    contract: dict[str, Any] = {
        "task": "embed",
        "model": embedder.model,
        "weights_sha256": embedder.sha256,
        "digest": embedding.digest,
        "embedding": asdict(embedding),
    }
    if detector.model != DEFAULT_DETECTOR:
        contract["detector"] = detector.model
    files = {
        WEIGHTS: embedder.path,
        DETECTOR_WEIGHTS: detector.path,
        CONTRACT: _write(scratch, f"{embedder.model}-contract", contract),
    }
    if calibration is not None:
        if calibration.contract != embedding.digest:
            raise ContractMismatch(embedding.digest, calibration.contract)
        files[CALIBRATION] = _write(scratch, "calibration", calibration.to_json())
    if identities:
        files[IDENTITIES] = _write(scratch, "identities", {"names": list(identities)})
    return _package(name, embedder, contract, files, evidence)


def matcher_package(
    name: str,
    matcher: Weights,
    embedder: ModelVersionInfo,
    embedder_files: Path,
    evidence: Evidence,
    scratch: Path,
) -> ModelPackage:
    """A matching head with the embedder whose vectors it compares.

    Args:
        embedder: the registered version it was trained on.
        embedder_files: folder with that version's files.
    """
    contract = {
        "task": "match",
        "model": matcher.model,
        "weights_sha256": matcher.sha256,
        "digest": embedder.contract["digest"],
        "embedding": embedder.contract["embedding"],
        "detector": embedder.contract.get("detector", DEFAULT_DETECTOR),
    }
    files = {
        WEIGHTS: matcher.path,
        EMBEDDER_WEIGHTS: embedder_files / WEIGHTS,
        DETECTOR_WEIGHTS: embedder_files / DETECTOR_WEIGHTS,
        CONTRACT: _write(scratch, f"{matcher.model}-contract", contract),
    }
    return _package(name, matcher, contract, files, evidence)


def analysis_package(
    name: str, network: Weights, evidence: Evidence, scratch: Path
) -> ModelPackage:
    """An autoencoder or forecaster as a version of the registered model `name`.

    It stands for itself: no embedding depends on it, so nothing is made anew when it comes into
    use.
    """
    from facecore.zoo.registry import spec

    task = spec(network.model).task
    contract = {"task": task, "model": network.model, "weights_sha256": network.sha256}
    files = {
        WEIGHTS: network.path,
        CONTRACT: _write(scratch, f"{network.model}-contract", contract),
    }
    return _package(name, network, contract, files, evidence)


def paired_with(
    detector: ModelVersionInfo,
    detector_files: Path,
    embedder: ModelVersionInfo,
    embedder_files: Path,
    scratch: Path,
    *,
    calibration: Calibration | None = None,
) -> ModelPackage:
    """The embedder version that brings a new detector into use.

    Its weights are those of `embedder`; its contract, and with it every vector, is another,
    because other detections make other crops.

    Args:
        detector, embedder: registered versions; `…_files` are folders with their files.
        calibration: measured with this pair; without, the embedder's own is carried over,
            which its provenance then says.
    """
    found = Weights(detector.contract["model"], detector_files / WEIGHTS, detector.weights_sha256)
    old = Contract(**embedder.contract["embedding"])
    own = Weights(old.embedder, embedder_files / WEIGHTS, old.weights_sha256)
    new = embedding_contract(own, old.dimension, found.sha256)
    if calibration is None and CALIBRATION in embedder.files:
        document = json.loads((embedder_files / CALIBRATION).read_text(encoding="utf-8"))
        calibration = carried_over(Calibration.from_json(document), new, detector)
    text = (
        f"# {old.embedder} on faces found by {found.model}\n\n"
        f"The weights of {embedder.name}/{embedder.version}, paired with the detector "
        f"{detector.name}/{detector.version}. Promoting this version brings that detector into "
        f"use.\n\nContract: `{new.digest}`\n"
    )
    if calibration is not None and "carried_over_from" in calibration.provenance:
        text += (
            "\nThe thresholds were measured on crops of the earlier detector and are carried "
            "over; `facecore evaluate calibrate` measures them anew once this version is in "
            "use.\n"
        )
    tags = {
        "detector_version": f"{detector.name}/{detector.version}",
        "embedder_version": f"{embedder.name}/{embedder.version}",
    }
    evidence = Evidence(card=text, tags=tags, run_id=detector.run_id)
    return embedder_package(
        embedder.name, own, old.dimension, found, calibration, evidence, scratch
    )


def carried_over(
    calibration: Calibration, contract: Contract, detector: ModelVersionInfo
) -> Calibration:
    """A calibration of the same embedder with another detector, for a new contract."""
    return replace(
        calibration,
        contract=contract.digest,
        provenance={
            **calibration.provenance,
            "carried_over_from": calibration.contract,
            "carried_over_to": f"{detector.name}/{detector.version}",
        },
    )


def detector_of(embedder: ModelVersionInfo, files: Path) -> Weights:
    """The detector that an embedder version is paired with.

    Raises:
        NotFound: the version is not an embedder.
    """
    if "embedding" not in embedder.contract:
        raise NotFound("embedder version", f"{embedder.name}/{embedder.version}")
    return Weights(
        embedder.contract.get("detector", DEFAULT_DETECTOR),
        files / DETECTOR_WEIGHTS,
        embedder.contract["embedding"]["detector_sha256"],
    )


def _package(
    name: str,
    weights: Weights,
    contract: Mapping[str, Any],
    files: Mapping[str, Path],
    evidence: Evidence,
) -> ModelPackage:
    from facecore.lifecycle import serving
    from facecore.zoo.registry import spec

    about = spec(weights.model)
    facts = {
        "model": weights.model,
        "task": about.task,
        "licence": about.licence,
        "sha256": weights.sha256,
    }
    if weights.source_sha256:
        facts["source_sha256"] = weights.source_sha256
    served, signature, example = _served(about.task)
    return ModelPackage(
        name=name,
        files=files,
        contract=contract,
        python_model=Path(serving.__file__).with_name(served),
        signature=signature,
        input_example=example,
        description=evidence.card,
        requirements=tuple(f"{package}=={version(package)}" for package in _REQUIREMENTS),
        tags={**facts, **evidence.tags},
        params=facts,
        metrics=evidence.metrics,
        run_id=evidence.run_id,
    )


def _served(task: str) -> tuple[str, dict[str, str], dict[str, Any]]:
    """What answers for models of a task: the pyfunc's file, its signature, a row of input."""
    from facecore.lifecycle import analysis_serving, pair_serving, serving

    image = _example_image()
    match task:
        case "match":
            pair = {"first": image, "second": image}
            return "pyfunc_matcher.py", pair_serving.signature(), pair
        case "reconstruct":
            row = analysis_serving.example(task, _example_image(CROP_SIZE))
            return "pyfunc_autoencoder.py", analysis_serving.signature(task), row
        case "forecast":
            row = analysis_serving.example(task, image)
            return "pyfunc_forecaster.py", analysis_serving.signature(task), row
        case _:
            return "pyfunc_model.py", serving.signature(task), {"image": image}


def _example_image(side: int = 64) -> bytes:
    """A small picture nobody is on: it shows the form of a request and belongs to nobody."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((side, side)).convert("RGB").save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _write(scratch: Path, name: str, document: Mapping[str, Any]) -> Path:
    path = scratch / f"{name}.json"
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path
