"""What a reviewer is asked, and what their answer means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from facecore.errors import UsageError

if TYPE_CHECKING:
    from facecore.lifecycle.evaluation.comparison import Comparison
    from facecore.lifecycle.evaluation.promotion_gates import GateResult

APPROVE, REJECT, ASK = "Approve", "Reject", "Ask for more"
OPTIONS = (APPROVE, REJECT, ASK)
TIME_OUT = "nobody answered in time"

Decision = Literal["approved", "rejected", "more evidence wanted", "blocked"]
_DECISIONS: dict[str, Decision] = {
    APPROVE: "approved",
    REJECT: "rejected",
    ASK: "more evidence wanted",
}


@dataclass(frozen=True, slots=True)
class Review:
    """A challenger that was judged, on its way to a reviewer and back.

    Attributes:
        failed: names of the gates that failed.
        override: why they are not to block; empty: they do.
        evidence: key of the evidence page in bucket `reports`.
        run_id: MLflow run with evidence and plots.
        summary: Markdown for the reviewer.
    """

    name: str
    version: int
    dataset: str
    champion: str
    failed: tuple[str, ...]
    override: str
    evidence: str
    run_id: str
    summary: str

    @property
    def subject(self) -> str:
        return f"{self.name}/{self.version}"

    @property
    def blocked(self) -> bool:
        return bool(self.failed) and not self.override.strip()

    def to_json(self) -> dict[str, Any]:
        """Plain values, for XCom; `from_json` reads it back."""
        return {**asdict(self), "failed": list(self.failed)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Review:
        return cls(**{**document, "failed": tuple(document["failed"])})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the reviewer said.

    Attributes:
        reviewer: their name in Airflow; None: the time ran out.
    """

    decision: Decision
    reviewer: str | None
    reason: str

    @classmethod
    def read(cls, response: Mapping[str, Any]) -> Answer:
        """From what Airflow's human-in-the-loop operator returns.

        A time-out has no user and counts as its default, a rejection.

        Raises:
            UsageError: not exactly one of `OPTIONS` was chosen, or a person gave no reason.
        """
        chosen = list(response.get("chosen_options") or ())
        if len(chosen) != 1 or chosen[0] not in _DECISIONS:
            raise UsageError(f"the answer {chosen} is none of {', '.join(OPTIONS)}.")
        user = response.get("responded_by_user") or {}
        reviewer = user.get("name") or user.get("id")
        reason = str((response.get("params_input") or {}).get("reason") or "").strip()
        if reviewer is None:
            return cls("rejected", None, reason or TIME_OUT)
        if not reason:
            raise UsageError(
                "a decision needs a reason.", remedy="Clear the task and answer again."
            )
        return cls(_DECISIONS[chosen[0]], str(reviewer), reason)


def summary(
    subject: str,
    champion: str,
    dataset: str,
    comparison: Comparison,
    results: Sequence[GateResult],
    *,
    override: str,
    evidence_url: str,
) -> str:
    """The question to the reviewer, in Markdown."""
    rows = [
        f"| {one.measure} | {one.champion:.4f} | {one.challenger:.4f} "
        f"| {one.difference.value:+.4f} ({one.difference.low:+.4f} to {one.difference.high:+.4f}) |"
        for one in (comparison.primary, *comparison.others)
    ]
    gates = [f"- **{'passed' if g.passed else 'FAILED'}** {g.name}: {g.reason}" for g in results]
    lines = [
        f"Shall **{subject}** take the place of {champion}? Both were judged on `{dataset}`.",
        "",
        f"| measure | {champion} | {subject} | difference (95 % interval) |",
        "|---|---|---|---|",
        *rows,
        "",
        *gates,
        "",
        f"[Evidence page]({evidence_url})",
    ]
    if override.strip():
        lines += ["", f"The failed gates were overridden: {override.strip()}"]
    return "\n".join(lines)
