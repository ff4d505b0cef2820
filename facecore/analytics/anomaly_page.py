"""The page of unusual faces: self-contained HTML, without scripts."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import jinja2
import numpy as np
import numpy.typing as npt

from facecore.types import Doubles

Crops = npt.NDArray[np.uint8]
_SHOWN_PX = 84


def render_anomalies(
    *,
    model: str,
    limit: float,
    histogram: Sequence[int],
    unusual: Sequence[tuple[int, str, float, float]],
    originals: Crops,
    drawn: Crops,
    places: Doubles,
    ranks: Doubles,
) -> bytes:
    """One HTML document in UTF-8.

    Args:
        limit: rank from which on a face is called unusual.
        histogram: faces per equal part of the ranks 0..1.
        unusual: (face, source, error, rank) of the faces that are shown.
        originals, drawn: their crops and reconstructions, uint8 `[n, 112, 112, 3]`.
        places, ranks: of the faces on the map, `[m, 2]` in -1..1 and `[m]`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("facecore.analytics"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    most = max(histogram, default=0) or 1
    rows = [
        {
            "face": face,
            "source": source,
            "error": error,
            "rank": rank,
            "original": _embedded(originals[number]),
            "drawn": _embedded(drawn[number]),
        }
        for number, (face, source, error, rank) in enumerate(unusual)
    ]
    points = [
        (f"{250 + 235 * x:.1f}", f"{250 - 235 * y:.1f}", bool(rank >= limit))
        for (x, y), rank in zip(places.tolist(), ranks.tolist(), strict=True)
    ]
    bars = [(number, count, count / most) for number, count in enumerate(histogram)]
    page = environment.get_template("anomalies.html.j2").render(
        model=model,
        limit=limit,
        faces=sum(histogram),
        bars=bars,
        parts=len(histogram),
        rows=rows,
        points=points,
        unusual_points=sum(point[2] for point in points),
        side=_SHOWN_PX,
    )
    return page.encode("utf-8")


def _embedded(crop: Crops) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
