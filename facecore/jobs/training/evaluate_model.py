"""A registered version measured on a snapshot, alone or beside another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facecore.errors import UsageError
from facecore.jobs.models.champions import champions
from facecore.jobs.models.measured_models import Progress, find_version, load_version
from facecore.jobs.stores import Stores

if TYPE_CHECKING:
    from facecore.lifecycle.datasets.snapshot import Snapshot
    from facecore.lifecycle.evaluation import (
        Comparison,
        Cost,
        Evaluation,
        GateLimits,
        GateResult,
        Plot,
    )
    from facecore.lifecycle.evaluation.identification import Identification
    from facecore.stores.registry import ModelVersionInfo

NOBODY = "nobody"
IN_USE = "in use"


@dataclass(frozen=True, slots=True)
class ModelReport:
    """All that was measured of a version, and of the one it was put beside.

    Attributes:
        champion, comparison: None when it was judged alone.
        gates: empty when it was judged alone and no slice says anything.
        plots: drawn once, for files and page.
    """

    evaluation: Evaluation
    champion: Evaluation | None
    comparison: Comparison | None
    gates: tuple[GateResult, ...]
    cost: Cost | None
    plots: tuple[Plot, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no gate blocks."""
        return all(gate.passed for gate in self.gates)

    def to_json(self) -> dict[str, Any]:
        """Everything but pictures as plain values."""
        return {
            "model": self.evaluation.model,
            "passed": self.passed,
            "gates": [gate.to_json() for gate in self.gates],
            "comparison": self.comparison.to_json() if self.comparison else None,
            "cost": self.cost.to_json() if self.cost else None,
            "evaluation": self.evaluation.to_json(),
            "champion": self.champion.to_json() if self.champion else None,
        }

    def page(self, facts: Mapping[str, str] | None = None) -> bytes:
        """The evidence as one HTML document with the plots inside."""
        from facecore.lifecycle.evaluation import render_evidence

        return render_evidence(
            self.evaluation,
            self.champion,
            comparison=self.comparison,
            gate_results=self.gates,
            cost=self.cost,
            plots=self.plots,
            facts=facts,
        )

    def write(self, folder: Path, facts: Mapping[str, str] | None = None) -> list[Path]:
        """Write `evidence.html`, `evaluation.json` and every plot into a folder, which is made.

        Raises:
            UsageError: the folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            document = json.dumps(self.to_json(), indent=1) + "\n"
            (folder / "evaluation.json").write_text(document, "utf-8")
            (folder / "evidence.html").write_bytes(self.page(facts))
            written = [folder / "evidence.html", folder / "evaluation.json"]
            for plot in self.plots:
                written.append(folder / f"{plot.name}.png")
                written[-1].write_bytes(plot.png)
        except OSError as error:
            raise UsageError(f"cannot write into {folder}: {error.strerror}.") from error
        return written


def evaluate_model(
    reference: str,
    dataset: str,
    *,
    against: str = IN_USE,
    split: str = "test",
    slices: Sequence[str] | None = None,
    limits: GateLimits | None = None,
    with_cost: bool = True,
    with_plots: bool = True,
    on_progress: Progress | None = None,
    stores: Stores | None = None,
) -> ModelReport:
    """Measure a version and the one in use on the same data, and hold it against the gates.

    Args:
        reference: `name/number`, `name@alias` or `name`.
        dataset: snapshot, `name` or `name@digest`.
        against: another version of the same task, `IN_USE` or `NOBODY`. A version is not put
            beside itself.
        slices: metadata columns; those that every snapshot has by default.
        on_progress: called with (faces or scenes done, of), from the start for each version.

    Raises:
        NotFound, UsageError: no such version, snapshot, split or column; what there is is listed.
        SnapshotDamaged: an object of the data set is missing or altered.
    """
    from facecore.lifecycle.evaluation import compare, draw_plots, gates, measure_cost

    stores = stores or Stores()
    info = find_version(stores, reference)
    rival = _rival(stores, info, against)
    snapshot = _snapshot(stores, dataset, info)
    models = [load_version(stores, one) for one in (info, rival) if one is not None]
    found = [model.evaluate(snapshot, split, slices, on_progress) for model in models]
    own, other = found[0], found[1] if len(found) > 1 else None
    comparison = compare(other, own) if other is not None else None
    cost = None
    if with_cost:
        subjects = [model.subject(snapshot, split) for model in models]
        cost = measure_cost(*subjects, device=_device(stores))
    return ModelReport(
        evaluation=own,
        champion=other,
        comparison=comparison,
        gates=tuple(gates(own, other, limits, comparison=comparison, cost=cost)),
        cost=cost,
        plots=tuple(draw_plots(own, other)) if with_plots else (),
    )


def identification(
    reference: str,
    dataset: str,
    *,
    split: str = "test",
    sizes: Sequence[int] = (),
    target_fpirs: Sequence[float] = (),
    on_progress: Progress | None = None,
    stores: Stores | None = None,
) -> Identification:
    """Rank and open-set accuracy of an embedder at gallery sizes of one's own.

    Raises:
        UsageError: a model that is no embedder, a size below 1, a rate outside 0..1, or too few
            people for any of the sizes.
        NotFound, SnapshotDamaged: see `evaluate_model`.
    """
    from facecore.jobs.models.measured_models import MeasuredEmbedder
    from facecore.lifecycle.evaluation.embedder_evaluation import embed_snapshot
    from facecore.lifecycle.evaluation.face_scores import score_faces
    from facecore.lifecycle.evaluation.identification import GALLERY_SIZES, TARGET_FPIRS, identify

    if any(size < 1 for size in sizes) or any(not 0 < rate < 1 for rate in target_fpirs):
        raise UsageError("gallery sizes start at 1, false-positive rates lie between 0 and 1.")
    stores = stores or Stores()
    info = find_version(stores, reference)
    if info.contract.get("task") == "detect":
        raise UsageError(
            f"{info.name}/{info.version} is a detector; identification needs an embedder.",
            remedy="`facecore evaluate detection` measures detectors.",
        )
    snapshot = _snapshot(stores, dataset, info)
    model = load_version(stores, info)
    assert isinstance(model, MeasuredEmbedder)  # noqa: S101 (it detects nothing)
    frame: Any = snapshot.frame(_split(split))
    if not len(frame):
        raise UsageError(
            f"{snapshot.reference} has no faces in split {split!r}.",
            remedy="`facecore dataset show` lists its splits.",
        )
    names = [name if isinstance(name, str) else None for name in frame["identity"].tolist()]
    vectors = embed_snapshot(model.embed, snapshot, split, len(frame), on_progress)
    found = identify(
        score_faces(vectors, names),
        model.calibration,
        sizes=sizes or GALLERY_SIZES,
        target_fpirs=target_fpirs or TARGET_FPIRS,
    )
    if sizes and not found.open_set:
        raise UsageError(
            f"{len(set(names) - {None})} people in split {split!r} of {snapshot.reference} are too "
            "few for galleries of that size.",
            remedy="A quarter of the people must stay outside the gallery.",
        )
    return found


def _snapshot(stores: Stores, dataset: str, info: ModelVersionInfo) -> Snapshot:
    """The data set, of the kind that the version is measured on."""
    from facecore.jobs.training.training_data import open_for

    kind = "scenes" if info.contract.get("task") == "detect" else "faces"
    return open_for(stores, dataset, kind)


def _rival(stores: Stores, info: ModelVersionInfo, against: str) -> ModelVersionInfo | None:
    task = info.contract.get("task")
    if against == NOBODY or (against == IN_USE and task == "match"):
        return None
    if against == IN_USE:
        pair = champions(stores)
        rival = pair.detector if task == "detect" else pair.embedder
    else:
        rival = find_version(stores, against)
        if rival.contract.get("task") != task:
            raise UsageError(
                f"{info.name}/{info.version} cannot be put beside {rival.name}/{rival.version}: "
                "one detects, the other does not."
                if "detect" in (task, rival.contract.get("task"))
                else f"{info.name}/{info.version} and {rival.name}/{rival.version} are of "
                "different kinds."
            )
    return None if (rival.name, rival.version) == (info.name, info.version) else rival


def _device(stores: Stores) -> Any:
    from facecore.zoo.device import resolve_device

    return resolve_device(stores.settings.extract.device)


def _split(split: str) -> Any:
    return split
