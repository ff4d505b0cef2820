"""The page a reviewer decides on: self-contained HTML that loads nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files

import jinja2
from markupsafe import Markup

from facecore.lifecycle.evaluation.comparison import Comparison, Difference, Evaluation
from facecore.lifecycle.evaluation.cost import Cost
from facecore.lifecycle.evaluation.embedder_evaluation import EmbedderEvaluation
from facecore.lifecycle.evaluation.evidence_figures import NOTHING, cost_rows, figure_rows
from facecore.lifecycle.evaluation.plot_style import Plot
from facecore.lifecycle.evaluation.plotting import draw_plots
from facecore.lifecycle.evaluation.promotion_gates import GateResult


def render_evidence(
    challenger: Evaluation,
    champion: Evaluation | None = None,
    *,
    comparison: Comparison | None = None,
    gate_results: Sequence[GateResult] = (),
    cost: Cost | None = None,
    plots: Sequence[Plot] | None = None,
    facts: Mapping[str, str] | None = None,
) -> bytes:
    """One HTML document in UTF-8, pictures inside; it may be shown without any network.

    Args:
        comparison, gate_results, cost: of the same two evaluations; what is left out is not
            shown.
        plots: already drawn; drawn here otherwise.
        facts: more for "where this comes from", for example the training run.

    Raises:
        UsageError: champion and challenger are of different kinds.
    """
    css = _resource("evidence.css")
    both = [one for one in (champion, challenger) if one is not None]
    names = [champion.model or "champion"] if champion is not None else []
    costs = None if cost is None else [*([cost.champion] if champion else []), cost.challenger]
    title = challenger.model or "Challenger"
    if champion is not None:
        title += f" beside {champion.model or 'the champion'}"
    page = _environment().get_template("evidence.html.j2").render(
        title=title,
        challenger=challenger,
        subject=_subject(challenger),
        gates=gate_results,
        blocked=[gate.name for gate in gate_results if not gate.passed],
        comparison=comparison,
        differences=[comparison.primary, *comparison.others] if comparison else [],
        columns=[*names, challenger.model or "challenger"],
        figures=[*figure_rows(both), *(cost_rows(costs, cost) if costs and cost else [])],
        notes=_notes(challenger, cost),
        plots=draw_plots(challenger, champion) if plots is None else plots,
        facts={
            "Data set": f"{challenger.snapshot}, SHA-256 {challenger.digest}",
            "Split": challenger.split,
            "Evaluated with": f"facecore {challenger.provenance['facecore']}, "
            f"{challenger.provenance['date']}, seed {challenger.provenance['seed']}",
            **(facts or {}),
        },
        css=Markup(css),  # noqa: S704 - our own file
        style_hash="sha256-" + base64.b64encode(hashlib.sha256(css.encode()).digest()).decode(),
    )  # fmt: skip
    return page.encode("utf-8")


def _subject(one: Evaluation) -> str:
    if isinstance(one, EmbedderEvaluation):
        unknown = f", {one.unlabelled:,} of them nobody's" if one.unlabelled else ""
        return f"{one.faces:,} faces of {one.verification.people:,} people{unknown}"
    return f"{one.faces:,} faces in {one.images:,} images"


def _notes(one: Evaluation, cost: Cost | None) -> list[str]:
    notes = []
    if isinstance(one, EmbedderEvaluation):
        notes += [p.note for p in one.verification.tar_at_far if p.note][:1]
        source = "this very split" if one.calibrated_here else one.calibration.dataset
        notes.append(f"The challenger's threshold was calibrated on {source}.")
    if cost is not None and cost.champion is not None:
        notes.append(
            f"Speed: median of {cost.rounds} rounds in which both took turns, with the slowest "
            "and the fastest."
        )
    return [note[0].upper() + note[1:] + ("" if note.endswith(".") else ".") for note in notes]


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("facecore.lifecycle.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["direction"] = _direction
    environment.filters["base64"] = _base64
    return environment


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4g}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _direction(one: Difference) -> str:
    """How a difference is coloured: only where its interval leaves out zero."""
    if one.difference.low <= 0 <= one.difference.high:
        return ""
    return "up" if one.gain > 0 else "down"


def _resource(name: str) -> str:
    return files("facecore.lifecycle.evaluation").joinpath("templates", name).read_text("utf-8")
