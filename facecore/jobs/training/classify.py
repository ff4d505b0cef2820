"""Which of the people it was trained on does a model see on a picture? (A closed set.)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from facecore.errors import UsageError
from facecore.jobs.lineage import RunContext, recorded
from facecore.jobs.models.measured_models import find_version
from facecore.jobs.stores import Stores
from facecore.lifecycle.packaging import IDENTITIES


def classify(
    context: RunContext, photo: Path, reference: str, *, stores: Stores | None = None
) -> list[dict[str, Any]]:
    """Every face of a picture with the likeliest people of the version's training.

    Nothing of the picture is stored.

    Args:
        reference: of an embedder version that also classifies: `name/number` or `name@alias`.

    Returns:
        Per face, best detection first: `box`, `score` and `identities` (up to five, each with
        `name` and `probability`).

    Raises:
        UsageError: the file cannot be read or used, or the version tells nobody apart.
        NotFound: no such version.
    """
    from facecore.lifecycle.serving import FaceService

    stores = stores or Stores()
    try:
        data = photo.read_bytes()
    except OSError as error:
        raise UsageError(f"{photo} cannot be read: {error.strerror}.") from error
    info = find_version(stores, reference)
    subject = f"{info.name}/{info.version}"
    if IDENTITIES not in info.files:
        raise UsageError(
            f"{subject} tells nobody apart by itself.",
            remedy="Train one that does: `facecore train --model deepface --goal softmax`. Any "
            "embedder finds enrolled people: `facecore search`.",
        )
    with recorded(stores.catalog, context, "classify", {"model": subject}) as run:
        run.models = {"classify": subject}
        folder = stores.registry.download(info)
        service = FaceService(
            {name: folder / name for name in info.files}, device=stores.settings.extract.device
        )
        (answer,) = service.faces([data])
        if answer["error"]:
            raise UsageError(f"{photo} cannot be used: {answer['error']}.")
        run.counts = {"faces": len(answer["faces"])}
    return [{key: face[key] for key in ("box", "score", "identities")} for face in answer["faces"]]
