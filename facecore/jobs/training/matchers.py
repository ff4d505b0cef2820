"""The learned matcher on top of the embedder in use: what it says of pairs, and how good it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from facecore.errors import UsageError
from facecore.jobs.models import analysis_models
from facecore.jobs.models.champions import Champions
from facecore.jobs.models.measured_models import load_version
from facecore.jobs.stores import Stores
from facecore.jobs.training.analysis_judging import Measured
from facecore.types import Floats

if TYPE_CHECKING:
    from facecore.lifecycle.datasets.snapshot import Snapshot
    from facecore.lifecycle.evaluation.embedder_evaluation import EmbedderEvaluation
    from facecore.stores.registry import ModelVersionInfo


@dataclass(frozen=True, slots=True)
class MatcherInUse:
    """A matcher that compares the vectors of the embedder in use.

    Attributes:
        name: "name/version".
        probability: vectors float32 `[n, d]` and `[n, d]` → how likely each pair is one person,
            0..1, for pairs of which half are.
    """

    name: str
    probability: Callable[[Floats, Floats], Floats]


def of_embedder(stores: Stores, chosen: Champions) -> MatcherInUse | None:
    """The matcher in use, where it compares this embedder's vectors; else None.

    Raises:
        DigestMismatch, WeightsError: its files are not the registered ones.
        RegistryUnavailable, CatalogUnavailable: a store is down.
    """
    import torch

    used = analysis_models.in_use(stores, "match")
    if used is None or used.contract != chosen.embedder_row.contract:
        return None
    head = analysis_models.load(stores, used.name, used.version)

    def probability(left: Floats, right: Floats) -> Floats:
        with torch.inference_mode():
            found: Floats = head.probability(  # type: ignore[operator]
                torch.from_numpy(left), torch.from_numpy(right)
            ).numpy()
        return found

    return MatcherInUse(f"{used.name}/{used.version}", probability)


def judge(stores: Stores, info: ModelVersionInfo, snapshot: Snapshot) -> tuple[Measured, Measured]:
    """A matcher on the test split, and what it is put beside: the matcher in use where both
    compare vectors of one embedder, else the plain cosine of these vectors.

    Raises:
        UsageError: a snapshot of another kind, or too few people in it.
    """
    if snapshot.kind != "faces":
        raise UsageError(
            f"data set {snapshot.reference} holds {snapshot.kind}; faces are needed.",
            remedy="`facecore dataset list` shows the data sets of each kind.",
        )
    found = _evaluated(stores, info, snapshot)
    own = _measured(found, f"{info.name}/{info.version}")
    used = analysis_models.in_use(stores, "match")
    if used is not None and used.contract == info.contract["digest"]:
        rival = stores.registry.version(used.name, used.version)
        name = f"{used.name}/{used.version}"
        return own, _measured(_evaluated(stores, rival, snapshot), name)
    cosine = {key: own.metrics[f"cosine_{key}"] for key in ("auc", "eer")}
    of = info.tags.get("embedder_version", str(info.contract["embedding"]["embedder"]))
    return own, Measured(f"cosine of {of}", cosine, {})


def _evaluated(stores: Stores, info: ModelVersionInfo, snapshot: Snapshot) -> EmbedderEvaluation:
    from facecore.lifecycle.evaluation.embedder_evaluation import EmbedderEvaluation

    found = load_version(stores, info).evaluate(snapshot, "test", ())
    assert isinstance(found, EmbedderEvaluation)  # noqa: S101 (a matcher is one with a head)
    return found


def _measured(found: EmbedderEvaluation, model: str) -> Measured:
    from facecore.lifecycle.evaluation.verification_plots import reliability_plot, score_plot

    judged = found.matcher
    if judged is None:
        raise UsageError(
            f"{found.snapshot} has too few people with two pictures to judge a matcher on.",
            remedy="Build a larger data set: `facecore dataset build`.",
        )
    metrics = {
        "auc": judged.auc.value,
        "eer": judged.eer.value,
        "cosine_auc": judged.cosine_auc.value,
        "cosine_eer": judged.cosine_eer.value,
        "calibration_error": judged.reliability.expected_error,
        "brier": judged.reliability.brier,
    }
    drawn = (reliability_plot(judged.reliability, "matcher_reliability"), score_plot(found))
    return Measured(model, metrics, asdict(judged), tuple(p for p in drawn if p is not None))
