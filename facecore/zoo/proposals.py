"""Where objects may be: selective search (Uijlings et al., IJCV 2013), OpenCV's implementation.

Pure pixels, nothing learned: the image is over-segmented, and like neighbours are merged step
by step; the bounding box of every region on the way is a proposal.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from facecore.errors import ConfigError

# Proposals of other forms are no faces: width over height, and the shorter side in parts of
# the longer side of the image (at the working size, px).
_ASPECT = (0.4, 1.8)
_SMALLEST_PX = 8
# A picture of two colours has nothing to segment, and OpenCV fails on less than a few pixels.
_SMALLEST_IMAGE_PX = 8


def selective_search(image: Tensor, *, side: int = 200, limit: int = 400) -> Tensor:
    """Proposals for one image: float32 `[n, 4]`, x1 y1 x2 y2 in its pixels, on the CPU.

    Args:
        image: uint8 RGB `[3, h, w]`.
        side: the image is reduced so that its longer side has this many pixels (never
            enlarged); time and proposals grow with it.
        limit: most proposals. Of more, evenly spread ones in the order of their size.

    Returns:
        Distinct boxes of face-like form (width 0.4 to 1.8 times the height), smallest first.
        The same image always gives the same boxes.

    Raises:
        ConfigError: OpenCV is absent or was built without its contributed modules.
    """
    try:
        from cv2.ximgproc import segmentation
    except ImportError as error:
        raise ConfigError(
            "selective search needs OpenCV with its contributed modules.",
            remedy="Install opencv-contrib-python-headless (below 5) instead of other OpenCVs.",
        ) from error

    height, width = image.shape[1:]
    scale = min(1.0, side / max(height, width))
    h, w = (max(1, round(length * scale)) for length in (height, width))
    if min(h, w) < _SMALLEST_IMAGE_PX:
        return torch.zeros(0, 4)
    pixels = image.cpu()
    if (h, w) != (height, width):
        pixels = F.interpolate(pixels[None], (h, w), mode="bilinear", antialias=True)[0]
    search = segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(pixels.flip(0).permute(1, 2, 0).numpy()))
    search.switchToSelectiveSearchFast()
    found = _distinct(np.asarray(search.process(), np.int64).reshape(-1, 4))
    if len(found) > limit:
        found = found[np.linspace(0, len(found) - 1, limit).round().astype(np.int64)]
    boxes = torch.from_numpy(found.astype(np.float32))
    boxes[:, 2:] += boxes[:, :2]
    return boxes * torch.tensor([width / w, height / h]).repeat(2)


def _distinct(found: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """x y w h rows of face-like form, each once, by area (OpenCV orders them at random)."""
    found = np.unique(found, axis=0)
    w, h = found[:, 2], found[:, 3]
    fits = (w >= _ASPECT[0] * h) & (w <= _ASPECT[1] * h) & (np.minimum(w, h) >= _SMALLEST_PX)
    found = found[fits]
    return found[np.argsort(found[:, 2] * found[:, 3], kind="stable")]


class ProposalCache:
    """Proposals of the images seen lately, so that training searches each image once.

    Selective search costs more than a training step of the network. A box takes 16 bytes:
    4,096 images are about 10 to 25 MB. Safe to use from several threads.

    Args:
        side, limit: see `selective_search`.
        images: how many are remembered.
    """

    def __init__(self, *, side: int, limit: int, images: int = 4096) -> None:
        self._side, self._limit, self._images = side, limit, images
        self._known: OrderedDict[bytes, Tensor] = OrderedDict()
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which remembers for itself."""
        return {**self.__dict__, "_known": OrderedDict(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = Lock()

    def __call__(self, image: Tensor) -> Tensor:
        """`selective_search` of uint8 RGB `[3, h, w]`, from memory when the pixels are known."""
        content = image.cpu().contiguous().numpy().tobytes()
        key = hashlib.blake2b(content, digest_size=16, salt=_shape(image)).digest()
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        boxes = selective_search(image, side=self._side, limit=self._limit)
        with self._lock:
            self._known[key] = boxes
            while len(self._known) > self._images:
                self._known.popitem(last=False)
        return boxes

    def __deepcopy__(self, memo: object) -> ProposalCache:
        # A lock cannot be copied, and a copy of the network starts with nothing remembered.
        return ProposalCache(side=self._side, limit=self._limit, images=self._images)


def _shape(image: Tensor) -> bytes:
    return b"".join(int(length).to_bytes(4, "little") for length in image.shape[1:])
