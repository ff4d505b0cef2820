"""The evidence page of models that analyse: gates and figures, self-contained HTML."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

if TYPE_CHECKING:
    from facecore.lifecycle.datasets.snapshot import Snapshot
    from facecore.lifecycle.evaluation.plot_style import Plot
    from facecore.lifecycle.evaluation.promotion_gates import GateResult


def render_analysis_evidence(
    subject: str,
    champion: str,
    snapshot: Snapshot,
    figures: Sequence[tuple[str, str, str]],
    gates: Sequence[GateResult],
    override: str = "",
    plots: Sequence[Plot] = (),
) -> bytes:
    """One HTML document in UTF-8 that loads nothing from anywhere.

    Args:
        figures: (measure, value of the one in use or "", value of the challenger).
    """
    css = (files(__package__) / "templates" / "evidence.css").read_text("utf-8")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("facecore.lifecycle.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("analysis.html.j2").render(
        subject=subject,
        champion=champion,
        snapshot=snapshot,
        figures=figures,
        gates=gates,
        blocked=[gate.name for gate in gates if not gate.passed],
        override=override,
        plots=[(p.title, p.caption, base64.b64encode(p.png).decode()) for p in plots],
        css=Markup(css),  # noqa: S704 - our own file
        style_hash="sha256-" + base64.b64encode(hashlib.sha256(css.encode()).digest()).decode(),
    )
    return page.encode("utf-8")
