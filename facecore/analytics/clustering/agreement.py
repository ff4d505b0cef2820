"""How well a clustering agrees with known identities: pairwise F, BCubed F, NMI.

Definitions: Amigó et al., "A comparison of extrinsic clustering evaluation metrics based on
formal constraints", 2009 (BCubed); Strehl and Ghosh, 2002 (NMI, here with the arithmetic mean, as
in scikit-learn). All from the sparse table of identity × cluster: memory is linear in faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facecore.errors import ShapeError

Labels = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement with the truth; each value 0..1, 1 is perfect.

    Attributes:
        pair_precision: of the pairs put together, the share that is one person; 1 without any.
        pair_recall: of the pairs of one person, the share put together; 1 without any.
        pair_f: their harmonic mean.
        bcubed_precision, bcubed_recall, bcubed_f: the same seen from each face, and averaged.
        nmi: normalised mutual information; 1 where both put everybody together.
        clusters, people: how many there are.
    """

    pair_precision: float
    pair_recall: float
    pair_f: float
    bcubed_precision: float
    bcubed_recall: float
    bcubed_f: float
    nmi: float
    clusters: int
    people: int


def agreement(people: Labels, clusters: Labels) -> Agreement:
    """Compare a clustering with the identities of the same faces, both `[n]`.

    Raises:
        ShapeError: there are no faces, or not one label of each kind per face.
    """
    if people.ndim != 1 or people.shape != clusters.shape or not len(people):
        raise ShapeError("labels", "one per face", f"{people.shape} and {clusters.shape}")
    from scipy.sparse import coo_matrix  # type: ignore[import-untyped]

    truth = np.unique(people, return_inverse=True)[1].reshape(-1)
    found = np.unique(clusters, return_inverse=True)[1].reshape(-1)
    n = float(len(truth))
    table = coo_matrix((np.ones(len(truth)), (truth, found))).tocsr().tocoo()
    both = table.data.astype(np.float64)
    of_truth = np.bincount(truth).astype(np.float64)
    of_found = np.bincount(found).astype(np.float64)
    together, same, put = _pairs(both), _pairs(of_truth), _pairs(of_found)
    pair_precision = together / put if put else 1.0
    pair_recall = together / same if same else 1.0
    precision = float((both**2 / of_found[table.col]).sum() / n)
    recall = float((both**2 / of_truth[table.row]).sum() / n)
    shared = float(
        (both / n * np.log(both * n / (of_truth[table.row] * of_found[table.col]))).sum()
    )
    mean_entropy = (_entropy(of_truth / n) + _entropy(of_found / n)) / 2
    return Agreement(
        pair_precision=pair_precision,
        pair_recall=pair_recall,
        pair_f=_harmonic(pair_precision, pair_recall),
        bcubed_precision=precision,
        bcubed_recall=recall,
        bcubed_f=_harmonic(precision, recall),
        nmi=float(np.clip(shared / mean_entropy, 0, 1)) if mean_entropy > 0 else 1.0,
        clusters=len(of_found),
        people=len(of_truth),
    )


def _pairs(counts: npt.NDArray[np.float64]) -> float:
    return float((counts * (counts - 1) / 2).sum())


def _harmonic(left: float, right: float) -> float:
    return 2 * left * right / (left + right) if left + right > 0 else 0.0


def _entropy(shares: npt.NDArray[np.float64]) -> float:
    return float(-(shares * np.log(shares)).sum())
