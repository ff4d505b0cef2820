"""The page of a shadow comparison: one HTML file that loads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from facecore.analytics import drawing, page
from facecore.analytics.drawing import Bars, Chart, Table
from facecore.analytics.shadow import CHANGED, WORDS, ShadowComparison
from facecore.analytics.theme import PALETTES, template
from facecore.analytics.thumbnails import data_uri
from facecore.analytics.wording import count, percent
from facecore.types import Image


def render(comparison: ShadowComparison, crops: Mapping[int, Image]) -> str:
    """HTML of a comparison; the same inputs give the same text.

    Args:
        crops: face id → uint8 RGB `[112, 112, 3]`, for the examples; a missing one shows none.
    """
    charts = (_kinds(comparison), _scores(comparison)) if comparison.faces else ()
    figures = {c.id: {p.name: c.draw(p) for p in PALETTES} for c in charts}
    scripts = [page.plotly(), page.resource("report.js.j2")] if figures else []
    data = {"themes": {p.name: template(p) for p in PALETTES}, "charts": figures}
    html: str = (
        page.environment()
        .get_template("shadow.html.j2")
        .render(
            comparison=comparison,
            sentences=sentences(comparison),
            charts=charts,
            changed=CHANGED,
            meaning=WORDS,
            thumbnails={
                e.face_id: data_uri(crops[e.face_id])
                for e in comparison.examples
                if e.face_id in crops
            },
            css=Markup(page.css()),  # noqa: S704 - our own file
            scripts=[Markup(script) for script in scripts],  # noqa: S704 - our own, and Plotly's
            heights={key: drawn["light"]["layout"]["height"] for key, drawn in figures.items()},
            script_hashes=[page.csp_hash(script) for script in scripts],
            data=Markup(page.inside_script(data)) if figures else None,  # noqa: S704 - escaped there
        )
    )
    return html


def sentences(comparison: ShadowComparison) -> Sequence[str]:
    """The comparison in short."""
    if not comparison.faces:
        return ("There are no faces to compare.",)
    said = [
        f"Of {count(comparison.faces, 'face')}, {comparison.changed:,} would change "
        f"({percent(comparison.changed, comparison.faces)}): "
        + (
            "; ".join(
                f"{comparison.kinds[kind]:,} {WORDS[kind]}"
                for kind in CHANGED
                if comparison.kinds[kind]
            )
            or "none"
        )
        + "."
    ]
    agreement = comparison.agreement
    if agreement is not None:
        said.append(
            f"Both put the same person first for {agreement.same:,} of {agreement.faces:,} "
            f"sampled faces ({agreement.share:.4f}, 95 % interval {agreement.low:.4f} to "
            f"{agreement.high:.4f}), against a gallery of {comparison.gallery_faces:,} faces."
        )
    if comparison.index_recall is not None:
        said.append(
            f"The new index finds {comparison.index_recall:.4f} of the ten nearest faces that an "
            "exact search finds."
        )
    return said


def _kinds(comparison: ShadowComparison) -> Chart:
    rows = [(WORDS[kind], comparison.kinds[kind]) for kind in WORDS]
    shown = [row for row in rows if row[1]]
    return Chart(
        "changes",
        "What would be said of each face",
        "A human's word stands; machines say anew of all other faces.",
        f"Bars, one per kind of change. {comparison.changed:,} faces would change.",
        Table(("Kind", "Faces"), tuple(rows)),
        lambda palette: drawing.rows(
            [name for name, _ in shown],
            [Bars("faces", [number for _, number in shown], lambda p: p.series[0])],
            palette,
            x_title="faces",
        ),
        width="half",
    )


def _scores(comparison: ShadowComparison) -> Chart:
    names = [
        f"{a:.2f} to {b:.2f}" for a, b in zip(comparison.edges, comparison.edges[1:], strict=False)
    ]
    before, after = comparison.thresholds
    limits = (
        ""
        if before is None or after is None
        else f" Needed: {before:.3f} before, {after:.3f} after."
    )
    return Chart(
        "scores",
        "Score of the best person of the gallery",
        f"Cosine similarity, of all compared faces.{limits}",
        f"Two series of bars over cosine similarity, before and after.{limits}",
        Table(
            ("Score", "Before", "After"),
            tuple(
                (name, old, new)
                for name, old, new in zip(
                    names, comparison.old_scores, comparison.new_scores, strict=True
                )
            ),
        ),
        lambda palette: _beside(
            drawing.columns(
                names,
                [
                    Bars("before", comparison.old_scores, lambda p: p.muted),
                    Bars("after", comparison.new_scores, lambda p: p.series[0], "/"),
                ],
                palette,
                x_title="cosine similarity",
                y_title="faces",
                short_names=[f"{a:.2f}" for a in comparison.edges[:-1]],
            )
        ),
        width="half",
    )


def _beside(figure: drawing.Figure) -> drawing.Figure:
    """Bars side by side: before and after are compared, not added up."""
    figure["layout"]["barmode"] = "group"
    return figure
