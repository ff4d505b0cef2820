"""Datasets: from a folder, a public data set or the catalogue to a snapshot in object storage."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from facecore.jobs.faces.crops import read_pack
from facecore.jobs.lineage import RunContext, recorded
from facecore.jobs.models.champions import champions, default_extractor, extractor
from facecore.jobs.reports.activity_series import read_counts, read_visits
from facecore.jobs.stores import Stores
from facecore.lifecycle.datasets import (
    Built,
    Destination,
    Listed,
    Snapshot,
    SplitPlan,
    list_snapshots,
    open_snapshot,
)
from facecore.samples.history import hourly_history
from facecore.stores.catalog.faces.training_faces import Which

if TYPE_CHECKING:
    from facecore.lifecycle.datasets.catalog import SplitBy
    from facecore.lifecycle.datasets.composing.scene import Style
    from facecore.pipeline.extract import FaceExtractor

Progress = Callable[[str, int, int], None]
Model = Literal["champion", "default"]


class DatasetBuilder:
    """Builds one snapshot; each build is recorded as a run in the catalogue.

    Args:
        context: who asks.
        name: of the snapshot.
        model: whose detector finds the faces: the models in use, or the default pack.
    """

    def __init__(
        self,
        context: RunContext,
        name: str,
        *,
        model: Model = "champion",
        stores: Stores | None = None,
        on_progress: Progress = lambda step, done, of: None,
    ) -> None:
        self._context, self._model = context, model
        self._models: dict[str, str] = {}
        self._stores = stores or Stores()
        cache = self._stores.settings.cache
        self._to = Destination(self._stores.objects, name, cache / "snapshots", on_progress)

    def folder(
        self,
        images: Path,
        *,
        plan: SplitPlan | None = None,
        unlabelled: bool = False,
        source: str = "",
        labels: Path | None = None,
    ) -> Built:
        """Faces of `person/*.jpg`, or of a flat folder; see `build_from_folder`."""
        from facecore.lifecycle.datasets.folder import build_from_folder

        return self._recorded(
            "folder",
            lambda: build_from_folder(
                self._to,
                images,
                self._extractor(),
                plan=plan,
                unlabelled=unlabelled,
                source=source,
                labels=labels,
            ),
        )

    def lfw(
        self,
        images: Path,
        pairs: Path,
        *,
        test_folds: Collection[int],
        val_folds: Collection[int] = (),
        val: float = 0.1,
        seed: int = 0,
        labels: Path | None = None,
    ) -> Built:
        """Labeled Faces in the Wild; see `build_from_lfw`."""
        from facecore.lifecycle.datasets.lfw import build_from_lfw

        return self._recorded(
            "lfw",
            lambda: build_from_lfw(
                self._to,
                images,
                pairs,
                self._extractor(),
                test_folds=test_folds,
                val_folds=val_folds,
                val=val,
                seed=seed,
                labels=labels,
            ),
        )

    def olivetti(self, *, plan: SplitPlan | None = None, labels: Path | None = None) -> Built:
        """The Olivetti faces; see `build_from_olivetti`."""
        from facecore.lifecycle.datasets.olivetti import build_from_olivetti, olivetti_images

        configured = self._stores.settings
        return self._recorded(
            "olivetti",
            lambda: build_from_olivetti(
                self._to,
                olivetti_images(configured.cache, configured.data_dir),
                self._extractor(),
                plan=plan,
                labels=labels,
            ),
        )

    def catalog(
        self,
        *,
        which: Which = "confirmed",
        plan: SplitPlan | None = None,
        labels: Path | None = None,
        split_by: SplitBy = "person",
    ) -> Built:
        """The platform's own faces; see `build_from_catalog`."""
        from facecore.lifecycle.datasets.catalog import build_from_catalog

        objects = self._stores.objects
        return self._recorded(
            "catalog",
            lambda: build_from_catalog(
                self._to,
                self._stores.catalog,
                lambda key: read_pack(objects, key),
                which=which,
                plan=plan,
                labels=labels,
                split_by=split_by,
            ),
        )

    def wider(
        self,
        images: Path,
        annotations: Path,
        *,
        test_annotations: Path | None = None,
        plan: SplitPlan | None = None,
        labels: Path | None = None,
    ) -> Built:
        """Scenes annotated like WIDER FACE; see `build_from_wider`."""
        from facecore.lifecycle.datasets.wider import build_from_wider

        return self._recorded(
            "wider",
            lambda: build_from_wider(
                self._to,
                images,
                annotations,
                test_annotations=test_annotations,
                plan=plan,
                labels=labels,
            ),
        )

    def scenes(
        self,
        images: Path,
        *,
        count: int,
        style: Style | None = None,
        plan: SplitPlan | None = None,
        pairs: Path | None = None,
        test_folds: Collection[int] = (),
        source: str = "",
    ) -> Built:
        """Composed scenes; see `compose_scenes`."""
        from facecore.lifecycle.datasets.compose import compose_scenes

        return self._recorded(
            "scenes",
            lambda: compose_scenes(
                self._to,
                images,
                self._extractor(),
                count=count,
                style=style,
                plan=plan,
                pairs=pairs,
                test_folds=test_folds,
                source=source,
            ),
        )

    def activity(
        self, last: date, *, weeks: int, simulated: bool = False, plan: SplitPlan | None = None
    ) -> Built:
        """Counts and visits of whole weeks up to and including a day; see `build_activity`.

        Args:
            simulated: of the sample cameras, without their faults, instead of the catalogue's.
        """
        from facecore.lifecycle.datasets.activity import build_activity

        timezone = self._stores.settings.report.timezone
        about = {"name": "catalogue", "timezone": timezone, "last": str(last), "weeks": weeks}
        if simulated:
            history = hourly_history(last, weeks, faults=False)
            series, visits = list(history.series), list(history.visits)
            about |= {"name": "sample cameras", "timezone": "UTC"}
        else:
            end = datetime.combine(last + timedelta(days=1), time())
            series = read_counts(self._stores, end, timezone, weeks=weeks)
            visits = read_visits(self._stores, end, timezone, weeks=weeks)
        kind = "samples" if simulated else "catalog"
        return self._recorded(
            "activity",
            lambda: build_activity(
                self._to, series, visits, source={"kind": kind, **about}, plan=plan
            ),
        )

    def _extractor(self) -> FaceExtractor:
        if self._model == "default":
            return default_extractor(self._stores)
        chosen = champions(self._stores)
        self._models = chosen.names
        return extractor(self._stores, chosen)

    def _recorded(self, source: str, build: Callable[[], Built]) -> Built:
        params: dict[str, Any] = {"name": self._to.name, "source": source, "model": self._model}
        with recorded(self._stores.catalog, self._context, "dataset", params) as run:
            built = build()
            run.models = self._models
            run.counts = {
                "reference": built.snapshot.reference,
                "rows": built.snapshot.rows,
                "new": built.new,
                "objects_written": built.written,
            }
        return built


def every(stores: Stores | None = None) -> list[Listed]:
    """All snapshots by name and version."""
    return list_snapshots((stores or Stores()).objects)


def show(reference: str, *, verify: bool = False, stores: Stores | None = None) -> Snapshot:
    """A snapshot by `name` or `name@digest`.

    Args:
        verify: also read each of its objects and hold it against its SHA-256.

    Raises:
        NotFound: it does not exist; the remedy lists what does.
        SnapshotDamaged: an object is missing or altered.
    """
    snapshot = open_snapshot((stores or Stores()).objects, reference)
    if verify:
        snapshot.verify()
    return snapshot
