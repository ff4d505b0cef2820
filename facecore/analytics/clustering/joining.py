"""An incremental pass: new faces join people, or found new ones; what is settled stays."""

from __future__ import annotations

import numpy as np

from facecore.analytics.clustering.belonging import NOBODY, ambiguous, belonging
from facecore.analytics.clustering.communities import communities
from facecore.analytics.clustering.evidence import Evidence
from facecore.analytics.clustering.owners import Bools, Known
from facecore.analytics.clustering.settling import Settled
from facecore.stages.neighbours import Neighbours

_ROUNDS = 10


def join(pairs: Neighbours, known: Known, new: Bools, evidence: Evidence) -> Settled:
    """Whose new faces are.

    A new face joins the person whose faces it is near enough to; faces that just joined count
    for the next ones. What is left founds new people, together with older faces that were
    nobody's. Nobody who is somebody's moves.

    Args:
        pairs: of new faces (rows) and any faces (columns), all numbered alike.
        known: of the new faces and of all their neighbours.
        new: bool `[n]`: which of them are new.

    Returns:
        For all of them; who was somebody's before is as before.
    """
    people = np.where(known.free, known.prior, known.fixed)
    waiting = new & known.free
    people[waiting] = NOBODY
    # Poor crops and faces that wait for a human speak for nobody.
    speaks = known.confirmed | (known.good & ~known.unsure)
    for _ in range(_ROUNDS):
        speak = np.where(speaks, people, NOBODY)
        best, score = belonging(pairs, speak, evidence, known.forbidden, speak).best(len(known))
        joins = waiting & (people == NOBODY) & (score >= evidence.edge)
        if not joins.any():
            break
        people[joins] = best[joins]
    _found(people, pairs, known, new, evidence)
    speak = np.where(speaks, people, NOBODY)
    candidates = belonging(pairs, speak, evidence, known.forbidden, speak)
    unsure = ambiguous(candidates, people, evidence)
    unsure |= np.isin(people, np.fromiter(known.enrolled, np.int64, len(known.enrolled)))
    scores = np.where(people == NOBODY, candidates.best(len(known))[1], candidates.of(people))
    return Settled(people, unsure & waiting & (people != NOBODY), scores)


def _found(
    people: np.ndarray, pairs: Neighbours, known: Known, new: Bools, evidence: Evidence
) -> None:
    """New people from faces that are nobody's and good enough; each has one that is new."""
    loose = known.free & known.good & (people == NOBODY)
    kept = loose[pairs.rows] & loose[pairs.columns]
    among = Neighbours(pairs.rows[kept], pairs.columns[kept], pairs.scores[kept])
    labels = communities(len(known), among, evidence)
    sizes = np.bincount(labels[loose], minlength=int(labels.max(initial=-1)) + 1)
    fresh = np.bincount(labels[loose & new], minlength=len(sizes))
    founding = (sizes > 1) & (fresh > 0)
    number = np.where(founding, -np.cumsum(founding.astype(np.int64)), NOBODY)
    people[loose] = number[labels[loose]]
