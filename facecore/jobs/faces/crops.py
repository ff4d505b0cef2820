"""Packs of aligned crops in the bucket `crops`: one object holds thousands of faces.

Re-embedding and thumbnails read packs; the originals are never needed again for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from facecore.stores.objects import ObjectStore
from facecore.types import FaceCrops

# 1,024 crops are 39 MB: what a worker holds at most before it writes a pack, while the next
# images are computed.
FACES_PER_PACK = 1024
_TENSOR = "crops"


def write_pack(objects: ObjectStore, key: str, crops: FaceCrops) -> None:
    """Store crops under `key`; row i is `crop_index` i of the faces."""
    from safetensors.numpy import save

    objects.put("crops", key, save({_TENSOR: np.ascontiguousarray(crops.pixels)}))


def read_pack(objects: ObjectStore, key: str) -> FaceCrops:
    """The crops of a pack.

    Raises:
        ObjectMissing: there is no such pack.
    """
    from safetensors.numpy import load

    return FaceCrops(load(objects.get("crops", key))[_TENSOR])


def read_crops(
    objects: ObjectStore, where: Mapping[int, tuple[str, int]]
) -> dict[int, npt.NDArray[np.uint8]]:
    """Face id → its crop uint8 `[112, 112, 3]`, opening each pack once.

    Args:
        where: face id → (pack key, row).
    """
    by_pack: dict[str, list[int]] = {}
    for face_id, (key, _) in where.items():
        by_pack.setdefault(key, []).append(face_id)
    found: dict[int, npt.NDArray[np.uint8]] = {}
    for key, face_ids in sorted(by_pack.items()):
        pixels = read_pack(objects, key).pixels
        for face_id in face_ids:
            # A copy: a view would keep the whole pack in memory.
            found[face_id] = pixels[where[face_id][1]].copy()
    return found


def concatenate(crops: Sequence[FaceCrops]) -> FaceCrops:
    """Several crops as one."""
    return FaceCrops(np.concatenate([c.pixels for c in crops]))
