"""Made-up people, and a calibration to cluster them by."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from facecore.analytics.clustering.evidence import Evidence

_TABLE = [(1e-1, 0.2), (1e-3, 0.36), (1e-5, 0.46), (1e-6, 0.5)]
_EVIDENCE = Evidence.from_table(_TABLE, edge=0.5, fragment=0.4, review_margin=0.05)


def _unit(vectors):
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _people(counts, spread=0.7, seed=0, dimension=128):
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(len(counts)), counts)
    centres = _unit(rng.normal(size=(len(counts), dimension)))
    noise = rng.normal(size=(len(owner), dimension)) * spread / np.sqrt(dimension)
    return _unit(centres[owner] + noise), owner


def _same_groups(left, right):
    pairs = set(zip(left.tolist(), right.tolist(), strict=True))
    return len(pairs) == len(set(left.tolist())) == len(set(right.tolist()))


@pytest.fixture
def made() -> SimpleNamespace:
    """Functions that make people, unit vectors, and compare groups; `evidence` to go with them."""
    return SimpleNamespace(evidence=_EVIDENCE, people=_people, unit=_unit, same_groups=_same_groups)
