"""What every step is told. Imports nothing heavy: it is read where nothing is computed, too."""

from __future__ import annotations

from dataclasses import dataclass

DAG_ID = "ray"


@dataclass(frozen=True, slots=True)
class Work:
    """Plain values, none of them secret.

    Attributes:
        models: ids of detector and embedder in the catalogue.
        names: task → "name/version", for lineage.
        networks: names of their networks; `digests`: SHA-256 of their weights.
        extract: `ExtractSettings` of the actors, as JSON.
        least_px: how far pictures may be reduced, see `pipeline.decoded`; 0: not at all.
        limits: most bytes of a file and pixels of a picture that is decoded.
    """

    models: tuple[int, int]
    names: dict[str, str]
    networks: tuple[str, str]
    digests: tuple[str, str]
    extract: str
    least_px: int
    limits: tuple[int, int]
