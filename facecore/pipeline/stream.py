"""Any number of images through the extractor, with bounded memory and every core at work.

Three kinds of threads, none of which waits for another's whole batch:

- fetching threads, many, which mostly wait for the network: bytes, and their header checked;
- lanes, which compute: each takes the next group of images and brings it through decoding,
  detection, alignment and embedding. On a CPU there is one lane per core and each computes on
  its own core alone, so that no operator waits for a thread of another (`stages.workers`). On a
  GPU several lanes keep it busy: while one decodes on the CPU, another uploads on a stream of
  its own, another computes;
- the caller's thread, which takes results in the order of the items.

What waits between them is limited by items, bytes and pixels (`pipeline.window`), so memory
depends on these limits and never on how much there is to do; when the caller is slow, everything
waits. A picture that cannot be used costs one picture; a store that fails ends the stream.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import TypeVar

import torch

from facecore.errors import ImageRejected
from facecore.pipeline.decoded import Decoded, decode_for_search
from facecore.pipeline.extract import ExtractedImage, FaceExtractor, Picture
from facecore.pipeline.isolate import extract_each
from facecore.pipeline.window import Group, Window
from facecore.stages.decode import Encoded, Limits, read
from facecore.stages.decode_on_device import decode_mixed, nvjpeg_share
from facecore.stages.workers import compute_in_this_thread

Key = TypeVar("Key")
Fetch = Callable[[], bytes] | Callable[[], Decoded]
Content = Encoded | Picture | ImageRejected
Outcome = ExtractedImage | ImageRejected

# Images of a group, by device: on a CPU enough for full batches of crops, on a GPU enough to
# fill it.
_GROUP_IMAGES = {"cpu": 32, "cuda": 256}
_LANES_ON_GPU = 3
# One that is computed, one that is ready to be; the others wait for their turn or for the
# consumer, so that small groups go on while it writes a pack of crops away.
_GROUPS_PER_LANE = {"cpu": 4, "cuda": 3}
# Files a thread fetches between two looks at what waits. A GPU takes thousands a second, and for
# each of them threads would queue.
_FETCHED_AT_ONCE = {"cpu": 1, "cuda": 8}
_PIXELS_WAITING = {"cpu": 32_000_000, "cuda": 512_000_000}
_MAX_BYTES_WAITING = 64 * 2**20


def stream(
    items: Iterable[tuple[Key, Fetch]],
    extractor: FaceExtractor,
    limits: Limits | None = None,
    *,
    batch_images: int = 0,
    workers: int = 16,
    max_pixels_waiting: int = 0,
    max_bytes_waiting: int = _MAX_BYTES_WAITING,
) -> Iterator[tuple[Key, Outcome]]:
    """Fetch, decode and extract; yields one `(key, result)` per item, in order.

    Args:
        items: keys with a callable that returns the file's bytes, or what was decoded from them
            elsewhere; it runs in another thread. The iterable itself is advanced by one thread
            at a time, lazily.
        limits: what is decoded at all; see `stages.decode`.
        batch_images: images a lane takes at once, fewer when they are large; 0 for what suits
            the device.
        workers: threads that fetch.
        max_pixels_waiting: decoded pixels of all lanes together (3 bytes each), 0 for what suits
            the device; a lane exceeds its share by no more than one image.
        max_bytes_waiting: bytes fetched and not decoded yet; each fetching thread may exceed it
            by the files it has in hand: one, beside a GPU eight.

    Yields:
        The key with what was found, or with the `ImageRejected` that fetching, decoding or
        extracting this one image raised.

    Raises:
        StoreError: and any other exception of `items` or a fetch other than `ImageRejected`,
            unchanged, when its turn comes; likewise what extraction raises where it is not the
            image's fault. All threads have ended by then, as they have when the caller stops
            iterating (closes the generator).
    """
    device = extractor.workers.device
    lanes = extractor.workers.threads if device.type == "cpu" else _LANES_ON_GPU
    group = batch_images or _GROUP_IMAGES[device.type]
    window: Window[Key, Fetch, Content, Outcome] = Window(
        items,
        group_items=group,
        group_pixels=(max_pixels_waiting or _PIXELS_WAITING[device.type]) // lanes,
        group_bytes=max_bytes_waiting // 2,
        max_items=_GROUPS_PER_LANE[device.type] * lanes * group,
        max_bytes=max_bytes_waiting,
    )
    threads = [
        *(
            _thread(f"fetch-{i}", _fetch, window, limits or Limits(), _FETCHED_AT_ONCE[device.type])
            for i in range(workers)
        ),
        *(_thread(f"lane-{i}", _lane, window, extractor, i) for i in range(lanes)),
    ]
    for thread in threads:
        thread.start()
    try:
        while (results := window.take()) is not None:
            yield from results
    finally:
        window.stop()
        for thread in threads:
            thread.join()


def _thread(name: str, run: Callable[..., None], *arguments: object) -> threading.Thread:
    return threading.Thread(target=run, args=arguments, name=f"facecore-{name}", daemon=True)


def _fetch(window: Window[Key, Fetch, Content, Outcome], limits: Limits, at_once: int) -> None:
    while turn := window.next_items(at_once):
        done: list[tuple[int, Key, Content, int, int]] = []
        for number, key, fetch in turn:
            try:
                fetched = fetch()
                content = fetched if isinstance(fetched, Decoded) else read(fetched, limits)
            except ImageRejected as rejected:
                done.append((number, key, rejected, 0, 0))
            except BaseException as error:  # raised again in the caller's thread
                window.arrived(done)
                window.failed(number, error)
                return
            else:
                done.append((number, key, *_measured(content)))
        window.arrived(done)


def _measured(content: Decoded | Encoded) -> tuple[Content, int, int]:
    """What is to be extracted, its bytes and its pixels."""
    if isinstance(content, Decoded):
        return content.picture, content.bytes, content.pixels
    header = content.header
    return content, len(content.data), header.width * header.height


def _lane(
    window: Window[Key, Fetch, Content, Outcome], extractor: FaceExtractor, number: int
) -> None:
    device = extractor.workers.device
    if device.type == "cpu":
        compute_in_this_thread()
    else:
        torch.set_num_threads(1)  # or every small operation on the host would wake all cores
    with _own_stream(device, number):
        while (group := window.next_group()) is not None:
            try:
                window.finished(group, _extract(group, extractor))
            except BaseException as error:  # raised again in the caller's thread
                window.broken(group, error)
                return


def _own_stream(device: torch.device, lane: int) -> AbstractContextManager[object]:
    return nullcontext() if device.type == "cpu" else torch.cuda.stream(_stream(device, lane))


@lru_cache(maxsize=64)
def _stream(device: torch.device, lane: int) -> torch.cuda.Stream:
    """The same for a lane of every run: memory is kept by stream, and would be asked for anew."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _extract(group: Group[Key, Content], extractor: FaceExtractor) -> list[tuple[Key, Outcome]]:
    contents = [content for _, content in group.items]
    pictures = _decode(contents, extractor)
    usable = [picture for picture in pictures if isinstance(picture, Picture)]
    extracted = iter(extract_each(extractor, usable) if usable else [])
    return [
        (key, picture if isinstance(picture, ImageRejected) else next(extracted))
        for (key, _), picture in zip(group.items, pictures, strict=True)
    ]


def _decode(contents: list[Content], extractor: FaceExtractor) -> list[Picture | ImageRejected]:
    """Decode what is not decoded in a group; what cannot be decoded is rejected by itself."""
    if extractor.on_device is None:
        return [_picture(content, extractor.searched_px) for content in contents]
    encoded = [content for content in contents if isinstance(content, Encoded)]
    workers = extractor.workers
    share = nvjpeg_share(workers.threads)
    decoded = iter(decode_mixed(encoded, workers.device, workers.on_cpu(), share))
    pictures: list[Picture | ImageRejected] = []
    for content in contents:
        own = next(decoded) if isinstance(content, Encoded) else content
        pictures.append(own if isinstance(own, ImageRejected | Picture) else Picture.of(own))
    return pictures


def _picture(content: Content, least_px: int) -> Picture | ImageRejected:
    if not isinstance(content, Encoded):
        return content
    try:
        return decode_for_search(content, least_px)
    except ImageRejected as rejected:
        return rejected
