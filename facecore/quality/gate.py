"""The quality gate: accepts or rejects each picture, and stops when a batch looks broken."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from facecore.config import GateSettings
from facecore.errors import QualityGateFailed
from facecore.quality import docs
from facecore.quality.batch import batch_frame
from facecore.quality.frame import JUDGED, gate_frame
from facecore.quality.suites import (
    BATCH_FAILURES,
    BATCH_SUITE,
    ROW_SUITE,
    batch_rules,
    batch_suite,
    row_rules,
    row_suite,
)
from facecore.stages.reasons import describe

# Great Expectations keeps its project in a global, so contexts of two threads would mix.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an image was rejected.

    Attributes:
        code: one of `facecore.stages.reasons.REASONS`.
        detail: for people.
        observed, limit: the measurement and the limit it broke; None when decoding failed.
    """

    code: str
    detail: str
    observed: float | None = None
    limit: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """As stored in the catalogue."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class GateResult:
    """The verdict on a batch.

    Attributes:
        accepted: image ids, ascending.
        rejected: image id → every reason, in the order of the rules.
        statistics: JSON-able numbers: `images`, `accepted`, `rejected`, `rejected_share`,
            `by_reason`, `duplicate_deliveries`, `batch_checked`, `batch_note`, `sources`.
        batch_failures: failed batch expectation → {source: observed share}; empty when healthy.
        data_docs: index page of the written Data Docs; None when none were asked for.
    """

    accepted: list[int]
    rejected: dict[int, list[Reason]]
    statistics: dict[str, Any]
    batch_failures: dict[str, dict[str, float]] = field(default_factory=dict)
    data_docs: Path | None = None

    def require_healthy(self) -> None:
        """Raise `QualityGateFailed` if the batch as a whole looks broken."""
        if not self.batch_failures:
            return
        what = "; ".join(
            f"{BATCH_FAILURES[name]} "
            + ", ".join(f"{source}: {share:.0%}" for source, share in observed.items())
            for name, observed in self.batch_failures.items()
        )
        raise QualityGateFailed(
            f"the batch of {self.statistics['images']} images looks broken. {what}.",
            statistics=self.statistics,
            failed=self.batch_failures,
            data_docs=str(self.data_docs or ""),
            remedy="Look at the source, then run the gate again; raise FACECORE_GATE__BATCH_… "
            "if this is how your pictures are.",
        )


def run_gate(
    frame: pd.DataFrame,
    settings: GateSettings,
    data_docs_dir: Path | None = None,
    *,
    now: datetime | None = None,
    run_name: str = "gate",
) -> GateResult:
    """Judge a batch of pictures.

    The same table, settings and `now` give the same result. Duplicates are counted, never
    rejected. Threads wait for each other.

    Args:
        frame: from `gate_frame`, or with the same columns.
        settings: the limits.
        data_docs_dir: where to write Data Docs (made, and overwritten); None for none.
        now: for the wrong-clock check; default: the present.
        run_name: shown in the Data Docs, such as the shard's name.

    Raises:
        ShapeError: the table lacks a column.
        QualityGateFailed: an expectation could not be evaluated at all.
    """
    frame = gate_frame({str(k): _plain(v) for k, v in r.items()} for r in frame.to_dict("records"))
    moment = now or datetime.now(UTC)
    if frame.empty:
        return GateResult([], {}, _statistics(frame, {}, None, settings))
    with _ONE_AT_A_TIME:
        checks = docs.Checks(run_name, moment)
        judged = frame[["image_id", "source", "reject_code", *JUDGED]]
        rejected = _reasons(checks.run(ROW_SUITE, row_suite(settings), judged), frame, settings)
        batch: pd.DataFrame | None = None
        failures: dict[str, dict[str, float]] = {}
        if int(frame["sightings"].sum()) >= settings.batch_min_images:
            batch = batch_frame(frame, rejected.keys(), settings, moment)
            failures = _failures(checks.run(BATCH_SUITE, batch_suite(settings), batch), settings)
        accepted = [int(i) for i in frame["image_id"] if int(i) not in rejected]
        result = GateResult(
            accepted, rejected, _statistics(frame, rejected, batch, settings), failures
        )
        if data_docs_dir is None:
            return result
        page = docs.Page(result.statistics, failures, _first_rejected(result, frame))
        index = checks.publish(data_docs_dir, page)
    return GateResult(accepted, rejected, result.statistics, failures, index)


def _plain(value: Any) -> Any:
    """pandas' several kinds of nothing → None."""
    return None if pd.isna(value) else value


def _reasons(
    unexpected: Mapping[str, list[dict[str, Any]]], frame: pd.DataFrame, settings: GateSettings
) -> dict[int, list[Reason]]:
    details = dict(zip(frame["image_id"], frame["reject_detail"], strict=True))
    found: dict[int, list[Reason]] = {}
    for row in unexpected["reject_code"]:
        image, code = int(row["image_id"]), str(row["reject_code"])
        found.setdefault(image, []).append(Reason(code, details[image] or describe(code)))
    for rule in row_rules(settings):
        for row in unexpected[rule.code]:
            observed = float(row[rule.column])
            found.setdefault(int(row["image_id"]), []).append(
                Reason(rule.code, rule.explain(observed), observed, rule.limit)
            )
    return dict(sorted(found.items()))


def _failures(
    unexpected: Mapping[str, list[dict[str, Any]]], settings: GateSettings
) -> dict[str, dict[str, float]]:
    return {
        rule.code: {str(row["source"]): round(float(row[rule.column]), 4) for row in rows}
        for rule in batch_rules(settings)
        if (rows := unexpected[rule.code])
    }


def _statistics(
    frame: pd.DataFrame,
    rejected: Mapping[int, list[Reason]],
    batch: pd.DataFrame | None,
    settings: GateSettings,
) -> dict[str, Any]:
    by_reason = Counter(reason.code for found in rejected.values() for reason in found)
    deliveries = int(frame["sightings"].sum())
    sources = [] if batch is None else batch.to_dict("records")
    return {
        "images": len(frame),
        "accepted": len(frame) - len(rejected),
        "rejected": len(rejected),
        "rejected_share": round(len(rejected) / len(frame), 4) if len(frame) else 0.0,
        "by_reason": dict(sorted(by_reason.items())),
        "duplicate_deliveries": deliveries - len(frame),
        "batch_checked": batch is not None,
        "batch_note": ""
        if batch is not None
        else f"{deliveries} deliveries are fewer than the {settings.batch_min_images} that "
        "batch expectations need; they were skipped.",
        "sources": [
            {
                str(k): round(v, 4) if isinstance(v, float) else v
                for k, v in row.items()
                if pd.notna(v)
            }
            for row in sources
        ],
    }


def _first_rejected(result: GateResult, frame: pd.DataFrame) -> list[docs.RejectedRow]:
    sources = dict(zip(frame["image_id"], frame["source"], strict=True))
    return [
        docs.RejectedRow(image, sources[image], [(r.code, r.detail) for r in found])
        for image, found in result.rejected.items()
    ]
