"""The table of figures on the evidence page: one row per figure, one column per model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from facecore.lifecycle.evaluation.comparison import Evaluation
from facecore.lifecycle.evaluation.cost import Cost, ModelCost
from facecore.lifecycle.evaluation.detector_evaluation import DetectorEvaluation
from facecore.lifecycle.evaluation.embedder_evaluation import EmbedderEvaluation
from facecore.lifecycle.intervals import Proportion

NOTHING = "–"
UNSUPPORTED = "not supported"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class FigureRow:
    """A figure's name and its value for each model, in words."""

    name: str
    cells: tuple[str, ...]


def figure_rows(both: Sequence[Evaluation]) -> list[FigureRow]:
    """The figures of one or two evaluations of one kind; the last one says which there are."""
    embedders = [one for one in both if isinstance(one, EmbedderEvaluation)]
    if embedders:
        return [_row(name, value, embedders) for name, value in _of_embedder(embedders[-1])]
    detectors = [one for one in both if isinstance(one, DetectorEvaluation)]
    return [_row(name, value, detectors) for name, value in _of_detector(detectors[-1])]


def cost_rows(costs: Sequence[ModelCost | None], cost: Cost) -> list[FigureRow]:
    """Size, operations and speed of each model."""

    def row(name: str, value: Callable[[ModelCost], str]) -> FigureRow:
        return FigureRow(name, tuple(NOTHING if one is None else value(one) for one in costs))

    return [
        row("Parameters", lambda c: f"{c.parameters / 1e6:.3g} million"),
        row("Operations per item", lambda c: f"{c.flops / 1e9:.3g} GFLOP"),
        row(
            f"Items a second ({cost.device}, {cost.threads} threads)",
            lambda c: f"{c.per_second:,.1f} [{c.slowest:,.1f}, {c.fastest:,.1f}]",
        ),
    ]


def _row(name: str, value: Callable[[_T], str], both: Sequence[_T]) -> FigureRow:
    return FigureRow(name, tuple(value(one) for one in both))


def _of_embedder(
    last: EmbedderEvaluation,
) -> Iterator[tuple[str, Callable[[EmbedderEvaluation], str]]]:
    yield "Numbers per face", lambda e: f"{e.dimension:,}"
    yield "Equal error rate", lambda e: str(e.verification.eer)
    yield "Area under ROC", lambda e: f"{e.verification.auc:.5f}"
    for point in last.verification.tar_at_far:
        yield f"TAR at FAR {point.far:.0e}", partial(_tar, point.far)
    yield "Threshold (1:1)", _threshold
    if last.protocol is not None:
        yield "Accuracy on the data set's pairs", _protocol
    if last.identification.closed_set is not None:
        yield f"Rank 1 of {last.identification.closed_set.gallery_size:,}", _rank_1
    for search in last.identification.open_set:
        if not search.supported:
            continue
        name = f"FNIR at FPIR {search.target_fpir:g}, {search.gallery_size:,} enrolled"
        yield name, partial(_fnir, search.gallery_size, search.target_fpir)
    if last.matcher is not None:
        yield "Matcher: equal error rate", lambda e: str(e.matcher.eer) if e.matcher else NOTHING


def _tar(far: float, one: EmbedderEvaluation) -> str:
    found = next((p.tar for p in one.verification.tar_at_far if p.far == far), None)
    return str(found) if found else UNSUPPORTED


def _threshold(one: EmbedderEvaluation) -> str:
    found = one.threshold
    spread = f"[{found.low:.4f}, {found.high:.4f}]"
    return f"{found.threshold:.4f} {spread} at FMR {found.fmr:.1e}"


def _protocol(one: EmbedderEvaluation) -> str:
    found = one.protocol
    return f"{found.accuracy:.4f} ± {found.accuracy_std:.4f}" if found else NOTHING


def _rank_1(one: EmbedderEvaluation) -> str:
    found = one.identification.closed_set
    return str(found.rank_1) if found else NOTHING


def _fnir(size: int, fpir: float, one: EmbedderEvaluation) -> str:
    for found in one.identification.open_set:
        if (found.gallery_size, found.target_fpir) == (size, fpir):
            return str(found.fnir) if found.fnir else UNSUPPORTED
    return NOTHING


def _of_detector(
    last: DetectorEvaluation,
) -> Iterator[tuple[str, Callable[[DetectorEvaluation], str]]]:
    yield "AP@0.5", lambda e: str(e.ap_50)
    yield "AP@[.5:.95]", lambda e: str(e.ap)
    yield f"Recall, score from {last.score_threshold:g}", lambda e: _rate(e.recall)
    yield "Precision there", lambda e: _rate(e.precision)
    yield "False detections per image there", lambda e: f"{e.false_per_image:.3f}"
    yield "Best score threshold (F1)", lambda e: f"{e.best_score:.3f} ({e.best_f1:.4f})"
    for place, size in enumerate(last.recall_by_size):
        if size.recall is not None:
            bounds = f"{size.low:g} to {size.high:g} px" if size.high else f"from {size.low:g} px"
            yield f"Recall, {bounds}", partial(_recall_of_size, place)
    if last.landmarks is not None:
        yield "Landmark error (distances of the eyes)", _landmark_error
        yield "Faces with an error above 0.1", _landmark_failures


def _recall_of_size(place: int, one: DetectorEvaluation) -> str:
    return _rate(one.recall_by_size[place].recall)


def _landmark_error(one: DetectorEvaluation) -> str:
    return str(one.landmarks.mean) if one.landmarks else NOTHING


def _landmark_failures(one: DetectorEvaluation) -> str:
    return _rate(one.landmarks.failures) if one.landmarks else NOTHING


def _rate(rate: Proportion | None) -> str:
    return f"{rate.value:.4f} [{rate.low:.4f}, {rate.high:.4f}]" if rate else NOTHING
