"""Unknown faces → proposed people: new faces join or found people, a full pass regroups all.

What a human decided is where every pass starts: names, merges, splits and "not this person" hold
before, during and after it. One pass runs at a time; each writes in transactions of a few
thousand faces, so that it can be killed anywhere and repeated.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facecore.jobs.lineage import Run, RunContext, recorded
from facecore.jobs.models.champions import threshold_for, while_models_change
from facecore.jobs.stores import Stores
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.models import active
from facecore.stores.catalog.models.active import Active
from facecore.stores.catalog.people import clusters, constraints, corrections, decisions, people
from facecore.stores.catalog.people.clusters import FaceStates, Ints
from facecore.types import Outcome

if TYPE_CHECKING:
    import torch

    from facecore.analytics.clustering.evidence import Evidence
    from facecore.analytics.clustering.owners import Known
    from facecore.analytics.clustering.settling import Settled

logger = logging.getLogger(__name__)

BATCH = 4096
WRITTEN_AT_ONCE = 5000
# As if there were at least so many faces: what a handful of faces allows would not hold later.
FEWEST_FACES = 1000
# The mean over very many pairs of two groups may be as similar as single pairs this much more
# often are by chance.
FRAGMENT_RATE = 100
# More unknown faces than this share of all are regrouped, not joined one after the other.
FULL_FROM = 0.25
_ROUNDS = 5

Progress = Callable[[int, int], None]


def cluster(
    context: RunContext,
    *,
    full: bool = False,
    stores: Stores | None = None,
    on_progress: Progress = lambda _done, _of: None,
) -> dict[str, int]:
    """Look at the faces that are new, or at all; returns counts.

    Where nearly everything is new, it is a full pass too.

    Returns:
        faces (looked at), changed (assignments), people (new ones), full (0 or 1).

    Raises:
        NotFound: no embedder is active.
        ConfigError: the active embedder was never calibrated.
        CatalogBusy: another pass is running.
    """
    stores = stores or Stores()
    with recorded(stores.catalog, context, "cluster", {"full": full}) as run:
        with _alone(stores):
            run.counts = while_models_change(partial(_pass, stores, run, full, on_progress))
        logger.info("clustering: %s", run.counts)
    return dict(run.counts)


@contextmanager
def _alone(stores: Stores) -> Iterator[None]:
    with stores.catalog.transaction() as tx:
        clusters.alone(tx)
        yield


def _pass(stores: Stores, run: Run, full: bool, on_progress: Progress) -> dict[str, int]:
    with stores.catalog.transaction() as tx:
        pair = active.current(tx)
        faces = clusters.count(tx, pair.embedder.id)
        waiting = clusters.count_unexamined(tx, pair.embedder.id)
    run.models = {"embed": f"{pair.embedder.name}/{pair.embedder.version}"}
    counts: Counter[str] = Counter(faces=0, changed=0, people=0, full=0)
    if full or waiting > max(BATCH, FULL_FROM * faces):
        counts.update(_full(stores, run, pair, on_progress))
        return dict(counts)
    while True:
        part = _incremental(stores, run, pair, faces)
        if not part["faces"]:
            return dict(counts)
        counts.update(part)
        on_progress(counts["faces"], max(waiting, counts["faces"]))


def _incremental(stores: Stores, run: Run, pair: Active, faces: int) -> dict[str, int]:
    """One batch of new faces, in one transaction."""
    from facecore.analytics.clustering.joining import join
    from facecore.stages.nearest import Nearest
    from facecore.stages.neighbours import Neighbours

    model = pair.embedder.id
    with stores.catalog.transaction() as tx:
        active.require(tx, *pair.ids)
        new_ids, vectors = clusters.vectors_of(tx, model, clusters.unexamined(tx, model, BATCH))
        if not len(new_ids):
            return {"faces": 0}
        evidence = evidence_of(stores, pair, faces)
        search = Nearest(
            vectors,
            stores.settings.cluster.neighbours,
            floor=evidence.fragment,
            own=new_ids,
            precision=stores.settings.search.precision,
            device=_device(stores),
        )
        for face_ids, block in clusters.blocks(tx, model):
            search.add(block, face_ids)
        found = search.result()
        ids = np.union1d(new_ids, found.columns)
        place = np.searchsorted(ids, new_ids)
        pairs = Neighbours(place[found.rows], np.searchsorted(ids, found.columns), found.scores)
        state = clusters.states(tx, model, ids)
        known = known_of(stores, tx, state)
        new = np.zeros(len(ids), np.bool_)
        new[place] = True
        settled = join(pairs, known, new, evidence)
        created = corrections.discover(tx, settled.newcomers)
        whose = _with_ids(settled.people, created)
        moved = new | ((known.prior == 0) & (whose != 0))
        rows = _changed(state, whose, settled.review, moved & known.free & state.present)
        changed = _write(tx, run, pair, state, whose, settled, rows, evidence.edge)
    return {"faces": len(new_ids), "changed": changed, "people": len(created)}


def _full(stores: Stores, run: Run, pair: Active, on_progress: Progress) -> dict[str, int]:
    """All faces: the graph from one reading, whose they are from what is decided at the end."""
    from facecore.analytics.clustering.settling import group, settle
    from facecore.stages.nearest import nearest_others

    with tempfile.TemporaryDirectory(prefix="facecore-cluster-") as folder:
        ids, vectors = _spooled(stores, pair, Path(folder) / "vectors.f16")
        evidence = evidence_of(stores, pair, len(ids))
        pairs = nearest_others(
            vectors,
            evidence.fragment,
            stores.settings.cluster.neighbours,
            precision=stores.settings.search.precision,
            device=_device(stores),
            on_progress=lambda done: on_progress(done, len(ids)),
        )
        with stores.catalog.transaction() as tx:
            state = clusters.states(tx, pair.embedder.id, ids)
        good = state.present & (state.quality >= stores.settings.cluster.min_quality)
        labels = group(vectors, pairs, good, evidence)
    changed, people_made = 0, 0
    for final in [False] * (_ROUNDS - 1) + [True]:
        with stores.catalog.transaction() as tx:
            head = decisions.head(tx)
            state = clusters.states(tx, pair.embedder.id, ids)
            known = known_of(stores, tx, state)
        settled = settle(np.where(state.present, labels, -1), pairs, known, evidence)
        with stores.catalog.transaction() as tx:
            active.require(tx, *pair.ids)
            created = corrections.discover(tx, settled.newcomers)
        people_made += len(created)
        whose = _with_ids(settled.people, created)
        rows = _changed(state, whose, settled.review, known.free & state.present)
        for start in range(0, len(rows), WRITTEN_AT_ONCE):
            part = rows[start : start + WRITTEN_AT_ONCE]
            with stores.catalog.transaction() as tx:
                active.require(tx, *pair.ids)
                if not final and decisions.head(tx) != head:
                    break  # a human decided meanwhile: start from that
                changed += _write(tx, run, pair, state, whose, settled, part, evidence.edge)
        else:
            break
    return {"faces": len(ids), "changed": changed, "people": people_made, "full": 1}


def evidence_of(stores: Stores, pair: Active, faces: int) -> Evidence:
    """What similarities say among so many faces, by the calibration of the embedder in use."""
    from facecore.analytics.clustering.evidence import Evidence
    from facecore.lifecycle.thresholds import Calibration

    wanted = stores.settings.cluster
    size = max(faces, FEWEST_FACES)
    calibration = pair.embedder.calibration
    edge = threshold_for(calibration, wanted.target_fpir, size)
    fragment = threshold_for(calibration, wanted.target_fpir, size // FRAGMENT_RATE)
    table = [(p.fmr, p.threshold) for p in Calibration.from_json(calibration).points]
    return Evidence.from_table(
        table,
        edge=edge.threshold,
        fragment=fragment.threshold,
        review_margin=wanted.review_margin,
    )


def known_of(stores: Stores, tx: Transaction, state: FaceStates) -> Known:
    """What is known of faces, with what humans decided as it stands now."""
    from facecore.analytics.clustering.owners import Known

    def row(face_id: int) -> int | None:
        at = int(np.searchsorted(state.face_ids, face_id))
        return at if at < len(state.face_ids) and state.face_ids[at] == face_id else None

    forbidden: dict[int, set[int]] = {}
    for face_id, person_id in constraints.all_forbidden(tx):
        at = row(face_id)
        if at is not None:
            forbidden.setdefault(at, set()).add(person_id)
    required = [
        (left, right)
        for a, b in constraints.all_required(tx)
        if (left := row(a)) is not None and (right := row(b)) is not None
    ]
    prior = np.where(state.fixed == 0, state.said, 0)
    unsure = (prior != 0) & (state.outcome != "accept")
    everybody = np.unique(np.concatenate([state.fixed, prior])).tolist()
    enrolled = clusters.enrolled_among(tx, everybody)
    # Proposals for the gallery are made anew by each pass, from the gallery as it is then.
    prior[unsure & np.isin(prior, list(enrolled))] = 0
    return Known(
        fixed=state.fixed,
        confirmed=state.confirmed,
        prior=prior,
        unsure=unsure & (prior != 0),
        good=state.present & (state.quality >= stores.settings.cluster.min_quality),
        forbidden=forbidden,
        required=required,
        decided=decisions.decided_about(tx, everybody),
        enrolled=enrolled,
    )


def _device(stores: Stores) -> torch.device:
    from facecore.zoo.device import resolve_device

    return resolve_device(stores.settings.extract.device)


def _spooled(stores: Stores, pair: Active, path: Path) -> tuple[Ints, np.ndarray]:
    """Ids and vectors `[n, d]` of all faces, the vectors as float16 mapped from a file."""
    ids = [np.zeros(0, np.int64)]
    with path.open("wb") as file, stores.catalog.transaction() as tx:
        active.pin(tx, pair.embedder.id)
        for face_ids, block in clusters.blocks(tx, pair.embedder.id):
            ids.append(face_ids)
            file.write(block.astype(np.float16).tobytes())
    every = np.concatenate(ids)
    dimension = pair.embedder.dimension or 0
    if not len(every):
        return every, np.zeros((0, dimension), np.float16)
    return every, np.memmap(path, np.float16, "r", shape=(len(every), dimension))


def _with_ids(whose: Ints, created: list[int]) -> Ints:
    """People with -1, -2 … replaced by the ids that the new ones got."""
    if not created:
        return whose
    ids = np.array([0, *created], np.int64)
    return np.where(whose < 0, ids[-np.minimum(whose, 0)], whose)


def _changed(state: FaceStates, whose: Ints, review: np.ndarray, rows: np.ndarray) -> Ints:
    """The rows for which clustering says something else than it said, or says it first."""
    outcome = np.where(whose == 0, "unknown", np.where(review, "review", "accept"))
    different = (state.said != whose) | (state.outcome != outcome)
    return np.flatnonzero(rows & different)


def _write(
    tx: Transaction,
    run: Run,
    pair: Active,
    state: FaceStates,
    whose: Ints,
    settled: Settled,
    rows: Ints,
    threshold: float,
) -> int:
    return people.write_assignments(
        tx,
        (
            people.AssignmentRow(
                face_id=int(state.face_ids[row]),
                person_id=int(whose[row]) or None,
                outcome=Outcome.UNKNOWN
                if not whose[row]
                else Outcome.REVIEW
                if settled.review[row]
                else Outcome.ACCEPT,
                source="cluster",
                score=float(settled.scores[row]),
                model_version_id=pair.embedder.id,
                threshold=threshold,
                run_id=run.id,
            )
            for row in rows.tolist()
        ),
    )
