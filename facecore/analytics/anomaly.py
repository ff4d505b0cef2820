"""A map of faces, from the codes of an autoencoder."""

from __future__ import annotations

import numpy as np

from facecore.types import Doubles, Floats

#: More points than this say no more and take minutes.
MOST_MAPPED = 2000
_LEAST_FOR_NEIGHBOURS = 10
_PERPLEXITY = 30.0


def face_map(codes: Floats) -> Doubles:
    """Places of codes `[n, d]` on a plane, float64 `[n, 2]`, -1..1: neighbours lie together
    (t-SNE, van der Maaten & Hinton 2008, by scikit-learn, from the principal components).

    Distances between groups mean nothing. At most 2,000 codes are taken; the same codes give
    the same map.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    codes = codes[:MOST_MAPPED]
    if len(codes) < 2 or np.ptp(codes, axis=0).max() == 0:
        return np.zeros((len(codes), 2))
    if len(codes) < _LEAST_FOR_NEIGHBOURS:
        places = PCA(n_components=2, svd_solver="full").fit_transform(codes)
    else:
        perplexity = min(_PERPLEXITY, (len(codes) - 1) / 3)
        places = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(codes)
    places = np.asarray(places, np.float64)
    spread = np.abs(places - places.mean(axis=0)).max()
    scaled: Doubles = (places - places.mean(axis=0)) / max(float(spread), 1e-12)
    return scaled
