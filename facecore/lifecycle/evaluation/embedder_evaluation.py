"""Everything that is measured of an embedder on one split of a snapshot of faces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from facecore import __version__
from facecore.errors import UsageError
from facecore.lifecycle.evaluation.discard_curve import DiscardCurve, discard_curve
from facecore.lifecycle.evaluation.error_curve import ErrorCurve, error_curve
from facecore.lifecycle.evaluation.example_pairs import ExamplePairs, example_pairs
from facecore.lifecycle.evaluation.face_scores import FaceScores, score_faces
from facecore.lifecycle.evaluation.identification import Identification, identify
from facecore.lifecycle.evaluation.reliability import (
    Matcher,
    MatcherResult,
    Reliability,
    balanced_pairs,
    judge_matcher,
    score_reliability,
)
from facecore.lifecycle.evaluation.slices import SliceReport, groups_of, slice_report
from facecore.lifecycle.thresholds import (
    VERIFICATION_FMR,
    Calibration,
    OperatingThreshold,
    calibrate,
    threshold_at,
)
from facecore.lifecycle.verification import Verification, verify
from facecore.types import Floats

if TYPE_CHECKING:
    import pandas as pd

# uint8 RGB crops [n, 112, 112, 3] → float32 [n, d] of unit length.
Embed = Callable[[npt.NDArray[np.uint8]], Floats]
Progress = Callable[[int, int], None]

SLICES = ("source", "quality_band")
QUALITY = "quality"
_BATCH = 256
_FOLDS = 10


class FaceSnapshot(Protocol):
    """What is needed of a snapshot of aligned faces (see `lifecycle.datasets`)."""

    @property
    def reference(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    def frame(self, split: Any = None) -> pd.DataFrame: ...
    def packs(
        self, split: Any = None
    ) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.uint8]]]: ...
    def pairs(self, split: Any) -> pd.DataFrame | None: ...


@dataclass(frozen=True, slots=True)
class EmbedderEvaluation:
    """The evaluation document of an embedder; `to_json` leaves out vectors and pictures.

    Attributes:
        model: what was measured, "name/version" for a registered one.
        snapshot, digest, split: on what.
        threshold: the operating threshold for 1:1 with its interval; `calibration` holds those
            for other rates and, through the gallery's size, for 1:N.
        calibrated_here: the calibration is of the same data, not one that was given.
        verification: all comparisons of the split.
        protocol: the data set's own pairs, as on Labeled Faces in the Wild; None without pairs.
        identification: rank-k and open set.
        slices: error rates by metadata column, at `threshold`.
        discard: error versus discard by face quality; None where no face has one.
        reliability: of scores as probabilities; None with too few people.
        matcher: a learned matcher beside the cosine, if one was given.
    """

    model: str
    snapshot: str
    digest: str
    split: str
    dimension: int
    faces: int
    unlabelled: int
    threshold: OperatingThreshold
    calibrated_here: bool
    verification: ErrorCurve
    protocol: Verification | None
    identification: Identification
    slices: tuple[SliceReport, ...]
    discard: DiscardCurve | None
    reliability: Reliability | None
    matcher: MatcherResult | None
    calibration: Calibration
    examples: ExamplePairs
    provenance: Mapping[str, str]
    scores: FaceScores = field(repr=False, compare=False)

    kind = "embedder"

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers."""
        document: dict[str, Any] = {"kind": self.kind}
        for name in self.__dataclass_fields__:
            if name != "scores":
                document[name] = _plain(getattr(self, name))
        document["examples"].pop("pictures")
        return document

    def metrics(self) -> dict[str, float]:
        """The numbers worth a curve or a column: name → value."""
        found = {
            "auc": self.verification.auc,
            "eer": self.verification.eer.value,
            "threshold": self.threshold.threshold,
        }
        for point in self.verification.tar_at_far:
            if point.tar is not None:
                found[f"tar_at_far_{point.far:.0e}"] = point.tar.value
        if self.protocol is not None:
            found["pairs_accuracy"] = self.protocol.accuracy
            found["pairs_auc"] = self.protocol.auc
        if self.identification.closed_set is not None:
            found["rank_1"] = self.identification.closed_set.rank_1.value
        for search in self.identification.open_set:
            if search.fnir is not None:
                name = f"fnir_at_fpir_{search.target_fpir:.0e}_of_{search.gallery_size}"
                found[name] = search.fnir.value
        if self.matcher is not None:
            found["matcher_auc"] = self.matcher.auc.value
            found["matcher_eer"] = self.matcher.eer.value
        return found


def evaluate_embedder(
    embed: Embed,
    snapshot: FaceSnapshot,
    *,
    model: str = "",
    split: str = "test",
    slices: Sequence[str] | None = None,
    calibration: Calibration | None = None,
    contract: str = "",
    target_fmr: float = VERIFICATION_FMR,
    matcher: Matcher | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> EmbedderEvaluation:
    """Measure an embedder on the faces of one split. Memory: the vectors and one pack of crops.

    Args:
        embed: crops → vectors.
        model: how it is called in the document.
        slices: metadata columns; by default `SLICES` and the user's own, where there are such.
        calibration: the one the model is deployed with. Without, thresholds are calibrated on
            this split, and are as good as they can be on it.
        contract: digest of the embedding contract, for a calibration made here.
        target_fmr: false-match rate of the 1:1 threshold; raised to the lowest rate that the
            calibration supports.
        matcher: a learned matcher to judge on the same faces.
        progress: called with (faces embedded, of).

    Raises:
        UsageError: too few people or images, an unknown split or column.
        ShapeError: `embed` does not give unit-length float32 vectors.
        SnapshotDamaged: an object of the snapshot is missing or altered.
    """
    frame = snapshot.frame(split)
    if not len(frame):
        raise UsageError(
            f"snapshot {snapshot.reference} has no faces in split {split!r}.",
            remedy="`facecore dataset show` lists its splits.",
        )
    usual = tuple(c for c in (*SLICES, *snapshot.labels) if c in frame)
    columns = usual if slices is None else tuple(slices)
    groups = [groups_of(frame, column) for column in columns]  # a wrong name ends it early
    unknown = frame["identity"].isna().tolist()
    names = frame["identity"].tolist()
    identities = [None if none else str(name) for none, name in zip(unknown, names, strict=True)]
    vectors = embed_snapshot(embed, snapshot, split, len(frame), progress)
    scores = score_faces(vectors, identities)
    used = calibration or calibration_of(
        scores, contract=contract, dataset=f"{snapshot.reference}, split {split}"
    )
    threshold = threshold_at(used, max(target_fmr, used.supported_fmr))
    balanced = balanced_pairs(scores, seed=seed)
    examples = example_pairs(scores)
    return EmbedderEvaluation(
        model=model,
        snapshot=snapshot.reference,
        digest=snapshot.digest,
        split=split,
        dimension=vectors.shape[1],
        faces=len(frame),
        unlabelled=identities.count(None),
        threshold=threshold,
        calibrated_here=calibration is None,
        verification=error_curve(scores, seed=seed),
        protocol=_protocol(vectors, snapshot.pairs(split), seed),
        identification=identify(scores, used, seed=seed),
        slices=tuple(
            slice_report(scores, labels, threshold.threshold, column)
            for labels, column in zip(groups, columns, strict=True)
        ),
        discard=_discard(scores, frame, threshold.threshold),
        reliability=score_reliability(scores, balanced) if balanced else None,
        matcher=judge_matcher(scores, balanced, matcher, seed=seed)
        if matcher and balanced
        else None,
        calibration=used,
        examples=replace(examples, pictures=_pictures(snapshot, split, examples)),
        provenance=provenance_of(seed),
        scores=scores,
    )


def embed_snapshot(
    embed: Embed, snapshot: FaceSnapshot, split: str, count: int, progress: Progress | None = None
) -> Floats:
    """Vectors of all faces of a split, in the order of its rows, float32 `[count, d]`."""
    vectors: Floats | None = None
    done = 0
    for rows, crops in snapshot.packs(split):
        for start in range(0, len(rows), _BATCH):
            part = slice(start, start + _BATCH)
            found = embed(crops[part])
            if vectors is None:
                vectors = np.zeros((count, found.shape[1]), np.float32)
            vectors[rows[part]] = found
            done += len(found)
            if progress is not None:
                progress(done, count)
    assert vectors is not None  # noqa: S101 (the caller refused an empty split)
    return vectors


def calibration_of(
    scores: FaceScores,
    *,
    contract: str,
    dataset: str,
    provenance: Mapping[str, str] | None = None,
) -> Calibration:
    """Thresholds for falling false-match rates, from all comparisons of these faces.

    Raises:
        UsageError: too few comparisons to calibrate on.
    """
    points = calibrate(scores.genuine, scores.impostors, scores.images_per_person)
    doubles = ", ".join(f"{a} = {b}" for a, b in scores.not_compared)
    return Calibration(
        contract=contract,
        dataset=dataset,
        images=len(scores),
        people=len(scores.names),
        faces_not_found=0,
        genuine=len(scores.genuine),
        impostors=scores.impostors.total,
        supported_fmr=points[-1].fmr,
        points=points,
        provenance={
            **provenance_of(0),
            **({"not_compared": doubles} if doubles else {}),
            **(provenance or {}),
        },
    )


def _protocol(vectors: Floats, pairs: pd.DataFrame | None, seed: int) -> Verification | None:
    if pairs is None or not len(pairs):
        return None
    left, right = pairs["left"].to_numpy(np.int64), pairs["right"].to_numpy(np.int64)
    same = pairs["same"].to_numpy(np.bool_)
    folds = np.array(pairs["fold"], np.int64) if "fold" in pairs else np.zeros(len(same), np.int64)
    if len(np.unique(folds)) < 2:
        # One fold of a protocol: its threshold comes from other parts of the same pairs.
        fewest = min(int(same.sum()), int((~same).sum()))
        if fewest < 2:
            return None
        rng = np.random.default_rng(seed)
        for kind in (same, ~same):
            places = rng.permutation(np.flatnonzero(kind))
            folds[places] = np.arange(len(places)) % min(_FOLDS, fewest)
    cosine = np.einsum("nd,nd->n", vectors[left], vectors[right]).astype(np.float32)
    used = np.unique(np.concatenate((left, right)))
    return replace(verify(cosine, same, folds), images=len(used))


def _discard(scores: FaceScores, frame: pd.DataFrame, threshold: float) -> DiscardCurve | None:
    if QUALITY not in frame:
        return None
    quality = frame[QUALITY].to_numpy(np.float64, na_value=np.nan)
    lower = np.minimum(quality[scores.genuine_left], quality[scores.genuine_right])
    known = np.isfinite(lower)
    if not known.any():
        return None
    return discard_curve(scores.genuine.scores[known], lower[known], threshold, name="face quality")


def _pictures(
    snapshot: FaceSnapshot, split: str, examples: ExamplePairs
) -> dict[int, npt.NDArray[np.uint8]]:
    wanted = examples.rows
    found: dict[int, npt.NDArray[np.uint8]] = {}
    for rows, crops in snapshot.packs(split):
        for place in np.flatnonzero(np.isin(rows, wanted)).tolist():
            found[int(rows[place])] = crops[place].copy()
        if len(found) == len(wanted):
            break
    return found


def provenance_of(seed: int) -> dict[str, str]:
    """Which program made an evaluation, when, and with which seed."""
    return {
        "facecore": __version__,
        "date": datetime.now(UTC).date().isoformat(),
        "seed": str(seed),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Calibration):
        return value.to_json()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value
