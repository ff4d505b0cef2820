"""Any number of images through the extractor, with bounded memory.

Threads fetch and decode ahead while the caller's thread computes. How many images and how many
decoded pixels wait is limited, so memory depends on these limits and never on how much there
is to do. Results come in the order of the items. A picture that cannot be used costs one
picture; a store that fails ends the stream.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from facecore.errors import ImageRejected
from facecore.pipeline.extract import ExtractedImage, FaceExtractor
from facecore.stages.decode import Limits, decode
from facecore.types import Image

_log = logging.getLogger(__name__)

Key = TypeVar("Key")
Fetch = Callable[[], bytes]


def stream(
    items: Iterable[tuple[Key, Fetch]],
    extractor: FaceExtractor,
    limits: Limits | None = None,
    *,
    batch_images: int = 32,
    workers: int = 4,
    max_pixels_waiting: int = 128_000_000,
) -> Iterator[tuple[Key, ExtractedImage | ImageRejected]]:
    """Fetch, decode and extract; yields one `(key, result)` per item, in order.

    Args:
        items: keys with a callable that returns the file's bytes; it runs in another thread.
            The iterable itself is advanced by one thread at a time, lazily.
        limits: what is decoded at all; see `stages.decode`.
        batch_images: images extracted at once; fewer when they are large.
        workers: threads that fetch and decode.
        max_pixels_waiting: decoded pixels ahead of the extractor (3 bytes each); each worker
            may exceed it by the one image it has in hand.

    Yields:
        The key with what was found, or with the `ImageRejected` that fetching or decoding this
        one image raised.

    Raises:
        StoreError: and any other exception of `items` or a fetch other than `ImageRejected`,
            unchanged, when its turn comes. All threads have ended by then, as they have when
            the caller stops iterating (closes the generator).
    """
    ahead = _Ahead(items, limits or Limits(), 2 * batch_images, max_pixels_waiting)
    threads = [
        threading.Thread(target=ahead.work, name=f"facecore-decode-{i}", daemon=True)
        for i in range(workers)
    ]
    for thread in threads:
        thread.start()
    try:
        batch: list[tuple[Key, Image | ImageRejected]] = []
        pixels = 0
        while (item := ahead.take()) is not None:
            batch.append(item)
            pixels += _pixels(item[1])
            if len(batch) >= batch_images or pixels >= max_pixels_waiting // 2:
                yield from _extract(batch, extractor)
                batch, pixels = [], 0
        yield from _extract(batch, extractor)
    finally:
        ahead.stop()
        for thread in threads:
            thread.join()


def _pixels(image: Image | ImageRejected) -> int:
    return 0 if isinstance(image, ImageRejected) else image.shape[0] * image.shape[1]


def _extract(
    batch: list[tuple[Key, Image | ImageRejected]], extractor: FaceExtractor
) -> Iterator[tuple[Key, ExtractedImage | ImageRejected]]:
    images = [image for _, image in batch if not isinstance(image, ImageRejected)]
    extracted = iter(extractor.extract(images))
    for key, image in batch:
        yield key, image if isinstance(image, ImageRejected) else next(extracted)


class _Ahead(Generic[Key]):
    """Items being fetched and decoded by worker threads, handed out in order.

    Items are taken from the iterable in order, and a worker waits only before it takes one.
    So the item whose turn it is has always been taken and nothing holds it up: no deadlock.
    """

    def __init__(
        self, items: Iterable[tuple[Key, Fetch]], limits: Limits, max_items: int, max_pixels: int
    ) -> None:
        self._items = iter(items)
        self._limits = limits
        self._max_items = max_items
        self._max_pixels = max_pixels
        self._changed = threading.Condition()
        self._advance = threading.Lock()  # held while the iterable is advanced
        self._done: dict[int, tuple[Key, Image | ImageRejected] | BaseException] = {}
        self._taken = 0  # by workers
        self._given = 0  # to the consumer
        self._pixels = 0  # decoded and not given yet
        self._ended = False

    def stop(self) -> None:
        """Let no worker start anything new."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def take(self) -> tuple[Key, Image | ImageRejected] | None:
        """The next item, when it is ready; None after the last one."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._given in self._done or (self._ended and self._given >= self._taken)
            )
            item = self._done.pop(self._given, None)
            if isinstance(item, BaseException):
                raise item
            if item is not None:
                self._given += 1
                self._pixels -= _pixels(item[1])
                self._changed.notify_all()
            return item

    def work(self) -> None:
        """What each worker thread runs."""
        while (turn := self._next()) is not None:
            index, key, fetch = turn
            try:
                image: Image | ImageRejected = decode(fetch(), self._limits)
            except ImageRejected as rejected:
                image = rejected
            except BaseException as error:  # raised again by take
                self._finish(index, error)
                return
            self._finish(index, (key, image))

    def _next(self) -> tuple[int, Key, Fetch] | None:
        with self._advance:
            with self._changed:
                self._changed.wait_for(
                    lambda: (
                        self._ended
                        or (
                            self._taken - self._given < self._max_items
                            and self._pixels < self._max_pixels
                        )
                    )
                )
                if self._ended:
                    return None
            try:
                key, fetch = next(self._items)
            except StopIteration:
                self.stop()
                return None
            except BaseException as error:  # raised again by take
                with self._changed:
                    index = self._taken
                    self._taken += 1
                self._finish(index, error)
                return None
            with self._changed:
                index = self._taken
                self._taken += 1
            return index, key, fetch

    def _finish(
        self, index: int, result: tuple[Key, Image | ImageRejected] | BaseException
    ) -> None:
        with self._changed:
            self._done[index] = result
            if isinstance(result, BaseException):
                self._ended = True
            elif not isinstance(result[1], ImageRejected):
                self._pixels += _pixels(result[1])
            self._changed.notify_all()
