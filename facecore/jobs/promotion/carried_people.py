"""Proposed people under another embedder: what clustering said is carried into a promotion.

Ids and names belong to people, not to models; which face is whose was found by a model. Before
another version comes into use, each person's faces get rows of that version, with scores that it
computed, so that nobody vanishes with the switch. The next pass of the clustering starts there.
"""

from __future__ import annotations

import numpy as np

from facecore.jobs.stores import Stores
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.models.promotions import Promotion
from facecore.stores.catalog.people import clusters, people
from facecore.types import Outcome

PEOPLE_AT_ONCE = 500


def carry_in_parts(stores: Stores, run_id: str, promotion: Promotion) -> int:
    """Carry everybody, in transactions of some hundred people; returns how many rows.

    What is carried already is left alone, so repeating is cheap.
    """
    carried = after = 0
    while True:
        with stores.catalog.transaction() as tx:
            part, after = _carry(tx, run_id, promotion, after)
        carried += part
        if not after:
            return carried


def carry(tx: Transaction, run_id: str, promotion: Promotion) -> int:
    """Carry whoever is not carried yet, in this transaction."""
    carried = after = 0
    while True:
        part, after = _carry(tx, run_id, promotion, after)
        carried += part
        if not after:
            return carried


def _carry(tx: Transaction, run_id: str, promotion: Promotion, after: int) -> tuple[int, int]:
    """Some people after one: how many rows, and the last person; 0 at the end."""
    (_, source), (_, target) = promotion.source, promotion.target
    person_ids = clusters.people_to_carry(tx, source, target, after, PEOPLE_AT_ONCE)
    if not person_ids:
        return 0, 0
    rows = clusters.rows_to_carry(tx, source, target, person_ids)
    ids, vectors = clusters.vectors_of(tx, target, [face_id for face_id, _, _ in rows])
    place = {face_id: at for at, face_id in enumerate(ids.tolist())}
    owner = np.zeros(len(ids), np.int64)
    for face_id, person_id, _ in rows:
        owner[place[face_id]] = person_id
    names, column = np.unique(owner, return_inverse=True)
    means = np.zeros((len(names), vectors.shape[1]))
    np.add.at(means, column, vectors)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    scores = np.einsum("nd,nd->n", vectors, means[column])
    written = people.write_assignments(
        tx,
        (
            people.AssignmentRow(
                face_id=face_id,
                person_id=person_id,
                outcome=Outcome(outcome),
                source="cluster",
                score=float(np.clip(scores[place[face_id]], -1, 1)),
                model_version_id=target,
                run_id=run_id,
            )
            for face_id, person_id, outcome in rows
        ),
    )
    return written, person_ids[-1]
