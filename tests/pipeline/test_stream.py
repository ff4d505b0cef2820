import io
import random
import threading
import time
from collections import Counter

import numpy as np
import PIL.Image
import pytest

from facecore.errors import ImageRejected, ObjectStoreUnavailable
from facecore.pipeline.decoded import decode_file
from facecore.pipeline.extract import ExtractedImage, Picture
from facecore.pipeline.stream import _FETCHED_AT_ONCE, _GROUPS_PER_LANE, stream
from facecore.stages.align import align
from facecore.stages.decode import Limits, decode, read

GROUPS = _GROUPS_PER_LANE["cpu"]


def ours():
    names = ("facecore-fetch", "facecore-lane")
    return [t for t in threading.enumerate() if t.name.startswith(names)]


@pytest.fixture(params=[1, 8])
def at_once(request, monkeypatch):
    """Files of a fetching thread's turn, as on a CPU and as beside a GPU."""
    monkeypatch.setitem(_FETCHED_AT_ONCE, "cpu", request.param)


@pytest.mark.usefixtures("at_once")
def test_order_and_completeness(extractor, files):
    def slow(data, index):
        time.sleep(0.05 if index % 3 == 0 else 0)
        return data

    items = ((i, lambda i=i: slow(files[i % len(files)], i)) for i in range(13))
    results = list(stream(items, extractor, batch_images=4, workers=3))
    assert [key for key, _ in results] == list(range(13))
    assert all(isinstance(result, ExtractedImage) and len(result) for _, result in results)
    assert not ours()


@pytest.mark.usefixtures("at_once")
def test_one_bad_image_costs_one_image(extractor, files):
    def refused():
        raise ImageRejected("too_many_bytes", "larger than allowed")

    broken = files[0][: len(files[0]) // 3]
    items = [
        ("good", lambda: files[0]),
        ("cut", lambda: broken),
        ("text", lambda: b"not an image"),
        ("refused", refused),
        ("last", lambda: files[1]),
    ]
    results = dict(stream(iter(items), extractor))
    reasons = {k: r.reason for k, r in results.items() if isinstance(r, ImageRejected)}
    assert reasons == {
        "cut": "truncated",
        "text": "not_an_image",
        "refused": "too_many_bytes",
    }
    assert len(results["good"]) == len(results["last"]) == 1


def test_limits_apply(extractor, files):
    ((_, result),) = stream([(0, lambda: files[0])], extractor, Limits(max_pixels=1000))
    assert isinstance(result, ImageRejected)
    assert result.reason == "too_many_pixels"


@pytest.mark.usefixtures("at_once")
def test_a_failing_store_ends_the_stream_cleanly(extractor, files):
    def down():
        raise ObjectStoreUnavailable("connection refused")

    items = [(i, lambda: files[0]) for i in range(3)] + [(3, down)] + [(4, lambda: files[0])] * 50
    results = []

    def consume():
        for key, _ in stream(iter(items), extractor, batch_images=2):
            results.append(key)

    with pytest.raises(ObjectStoreUnavailable, match="connection refused"):
        consume()
    assert results == [0, 1]  # whole batches before the failure
    assert not ours()


@pytest.mark.usefixtures("at_once")
def test_a_failing_listing_ends_the_stream_cleanly(extractor, files):
    def listing():
        yield 0, lambda: files[0]
        raise ObjectStoreUnavailable("no more pages")

    with pytest.raises(ObjectStoreUnavailable, match="no more pages"):
        list(stream(listing(), extractor))
    assert not ours()


@pytest.mark.usefixtures("at_once")
def test_stopping_early_leaves_no_threads_and_fetches_no_more(extractor, files):
    fetched = []

    def fetch(i):
        fetched.append(i)
        return files[0]

    items = ((i, lambda i=i: fetch(i)) for i in range(10_000))
    results = stream(items, extractor, batch_images=2, workers=2)
    assert next(results)[0] == 0
    results.close()
    assert not ours()
    # Groups of two that may be on their way, those of the first group, and one in each hand.
    assert len(fetched) <= 2 * GROUPS * extractor.workers.threads + 2 + 2


def test_what_waits_is_bounded(extractor, files):
    """While the caller is busy, no more than the limits is fetched."""
    fetched = []
    lanes = extractor.workers.threads

    def fetch(i):
        fetched.append(i)
        return files[i % len(files)]

    def consume(**limits):
        fetched.clear()
        items = ((i, lambda i=i: fetch(i)) for i in range(1000))
        results = stream(items, extractor, workers=2, **limits)
        next(results)
        time.sleep(0.5)
        waiting = len(fetched)
        results.close()
        return waiting

    # 2 handed out, at most so many groups for each lane ahead of those.
    assert 2 <= consume(batch_images=2) <= 2 + 2 * GROUPS * lanes
    # A byte of budget: every image is a group; besides one in the hand of each fetching thread
    # only what is computed already waits.
    assert 1 <= consume(batch_images=2, max_bytes_waiting=1) <= 2 + 2 * GROUPS * lanes


def test_nothing_in_nothing_out(extractor):
    assert list(stream([], extractor)) == []
    assert not ours()


class Recorded:
    """The extractor, and what came into it."""

    def __init__(self, extractor, before=lambda pictures: None):
        self.real, self.before, self.batches = extractor, before, []
        self.workers, self.searched_px = extractor.workers, extractor.searched_px
        self.on_device = None
        self.probes = 0

    def extract(self, pictures):
        self.batches.append([picture.pixels.shape[:2] for picture in pictures])
        self.before(pictures)
        return self.real.extract(pictures)

    def probe(self):
        self.probes += 1
        self.real.probe()


def png(pixels):
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def grey(height, width):
    return png(np.full((height, width, 3), 128, np.uint8))


@pytest.mark.usefixtures("at_once")
def test_groups_depend_on_the_items_alone(extractor):
    """Slow storage and threads change which bytes come when, but not what is computed together."""
    rng = random.Random(0)
    sizes = [(40 + 10 * (i % 7), 50 + 5 * i) for i in range(23)]
    pictures = [grey(*size) for size in sizes]

    def batches(workers, delay):
        def fetch(i):
            time.sleep(rng.random() * delay)
            return pictures[i]

        recorded = Recorded(extractor)
        items = ((i, lambda i=i: fetch(i)) for i in range(len(pictures)))
        keys = [
            key
            for key, _ in stream(
                items, recorded, batch_images=5, workers=workers, max_pixels_waiting=40_000
            )
        ]
        assert keys == list(range(len(pictures)))
        return sorted(recorded.batches)

    quick = batches(1, 0.0)
    assert batches(8, 0.02) == batches(3, 0.004) == quick
    share = 40_000 // extractor.workers.threads
    assert all(len(b) == 1 or sum(h * w for h, w in b) <= share for b in quick)
    assert sorted(size for b in quick for size in b) == sorted(sizes)


def test_mixed_sizes_nobody_and_a_crowd(extractor, files):
    """500 faces in one picture, between pictures of every size and pictures of nobody."""
    portrait = decode(files[0], Limits())
    ((_, found),) = stream([(0, lambda: files[0])], extractor)
    x1, y1, x2, y2 = found.detections.boxes[0]
    side = 1.5 * max(x2 - x1, y2 - y1)
    left, top = int(max(0, (x1 + x2 - side) / 2)), int(max(0, (y1 + y2 - side) / 2))
    face = PIL.Image.fromarray(portrait[top : top + int(side), left : left + int(side)])
    tile = np.array(face.resize((48, 48), PIL.Image.Resampling.LANCZOS))
    crowd = png(np.tile(tile, (20, 25, 1)))  # 960 x 1200
    items = [grey(33, 700), files[0], crowd, grey(900, 30), files[1], grey(1, 1)]
    results = [r for _, r in stream(((i, lambda d=d: d) for i, d in enumerate(items)), extractor)]
    counts = [len(result) for result in results]
    assert counts[0] == counts[3] == counts[5] == 0
    assert counts[1] == counts[4] == 1
    assert counts[2] >= 400
    vectors = results[2].embeddings.vectors
    assert vectors.shape == (counts[2], 128)
    # Every tile shows the same face.
    assert np.median(vectors @ vectors[0]) > 0.5


@pytest.mark.parametrize("error", [ValueError("no such luck"), RuntimeError("kernel failed")])
def test_a_poisoned_image_costs_one_image(extractor, files, error, caplog):
    poison = grey(77, 99)

    def before(pictures):
        if any(picture.pixels.shape[:2] == (77, 99) for picture in pictures):
            raise error

    recorded = Recorded(extractor, before)
    items = [files[i % 2] for i in range(9)]
    items[5] = poison
    results = dict(stream(((i, lambda d=d: d) for i, d in enumerate(items)), recorded))
    rejected = results.pop(5)
    assert isinstance(rejected, ImageRejected)
    assert rejected.reason == "extraction_failed"
    assert str(error) in str(rejected)
    assert all(len(result) == 1 for result in results.values())
    assert recorded.probes == 1
    assert "trying 9 images in halves" in caplog.text


def test_a_broken_network_is_no_images_fault(extractor, files):
    def broken(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    recorded = Recorded(extractor, broken)
    recorded.probe = broken
    with pytest.raises(RuntimeError, match="illegal memory"):
        list(stream([(i, lambda: files[0]) for i in range(5)], recorded))
    assert not ours()


def test_full_memory_halves_the_batch_and_goes_on(extractor, files, caplog):
    def before(pictures):
        if len(pictures) > 2:
            raise MemoryError

    recorded = Recorded(extractor, before)
    results = list(stream(((i, lambda i=i: files[i % 2]) for i in range(8)), recorded))
    assert [len(result) for _, result in results] == [1] * 8
    assert "memory is full: trying 8 images in halves" in caplog.text
    assert recorded.probes == 0


def test_memory_does_not_grow_with_the_number_of_images(extractor):
    """Items alive at any time: what the limits allow, however many there are."""
    alive, most = 0, 0
    lock = threading.Lock()
    content = grey(64, 64)

    class Counted(bytes):
        def __new__(cls):
            nonlocal alive, most
            with lock:
                alive += 1
                most = max(most, alive)
            return super().__new__(cls, content)

        def __del__(self):
            nonlocal alive
            with lock:
                alive -= 1

    lanes = extractor.workers.threads
    count = 0
    for _ in stream(((i, Counted) for i in range(400)), extractor, batch_images=4, workers=3):
        count += 1
    assert count == 400
    assert most <= 4 * GROUPS * lanes + 4 * lanes + 3 + 4


def test_a_large_jpeg_is_searched_reduced_and_cropped_from_enough_pixels(extractor, files):
    """A close-up is cut from the reduced picture, a small face from the whole one."""
    portrait = PIL.Image.fromarray(decode(files[0], Limits()))
    for longest, factor in ((2600, 2), (5300, 4)):
        scale = longest / max(portrait.size)
        size = tuple(round(side * scale) for side in portrait.size)
        close = portrait.resize(size, PIL.Image.Resampling.BICUBIC)
        sheet = PIL.Image.new("RGB", size, (90, 90, 90))
        sheet.paste(portrait.resize((size[0] // 6, size[1] // 6)), (size[0] // 2, size[1] // 2))
        for picture, cut_from_reduced in ((close, True), (sheet, False)):
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=92)
            encoded = read(buffer.getvalue(), Limits())
            assert encoded.reduction(extractor.searched_px) == factor
            whole = Counter()
            pixels = encoded.decode_reduced(extractor.searched_px)
            given = Picture(
                pixels, *size, whole=lambda e=encoded, w=whole: w.update("x") or e.decode()
            )
            (found,) = extractor.extract([given])
            (expected,) = extractor.extract([encoded.decode()])
            assert whole["x"] == (not cut_from_reduced)
            assert (found.width, found.height) == size
            assert len(found) == len(expected) == 1
            np.testing.assert_allclose(
                found.detections.boxes, expected.detections.boxes, atol=4 * factor
            )
            assert float((found.embeddings.vectors * expected.embeddings.vectors).sum()) > 0.95
            # What differs is where the landmarks were found, not how the crop was cut.
            crops = align([encoded.decode()], [found.detections])[0]
            again = extractor.embedder.embed(crops).vectors
            assert float((found.embeddings.vectors * again).sum()) >= 0.98


def test_pictures_decoded_elsewhere_give_the_same_bits(extractor, files):
    large = io.BytesIO()
    with PIL.Image.open(io.BytesIO(files[0])) as picture:
        face = picture.convert("RGB").resize((2700, 2700 * picture.height // picture.width))
    face.save(large, "JPEG")
    contents = [*files, b"no picture", large.getvalue(), files[1][:-2000], *files]
    limits = Limits()

    def elsewhere(data):
        return decode_file(data, limits, extractor.searched_px)

    here = list(stream(((i, lambda d=d: d) for i, d in enumerate(contents)), extractor))
    apart = list(stream(((i, lambda d=d: elsewhere(d)) for i, d in enumerate(contents)), extractor))
    assert [key for key, _ in apart] == list(range(len(contents)))
    for (_, one), (_, other) in zip(here, apart, strict=True):
        assert type(one) is type(other)
        if isinstance(one, ImageRejected):
            assert one.reason == other.reason
            continue
        assert (one.width, one.height) == (other.width, other.height)
        assert one.embeddings.vectors.tobytes() == other.embeddings.vectors.tobytes()
        assert one.detections.boxes.tobytes() == other.detections.boxes.tobytes()
        assert one.crops.pixels.tobytes() == other.crops.pixels.tobytes()
