"""One scene: a background, things that are no faces, faces, and the camera that saw it all."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facecore.errors import UsageError
from facecore.lifecycle.datasets.composing import textures
from facecore.lifecycle.datasets.composing.pasting import (
    SIGNS,
    Doubles,
    Light,
    Move,
    Outline,
    Rng,
    paste,
    warped,
)
from facecore.lifecycle.datasets.composing.photos import Photo, overlap
from facecore.types import Floats, Image

# Backgrounds: a whole photograph with its own faces (their surroundings are real), a part of
# one without a face, or drawn.
_WHOLE_PHOTO, _PART = 0.25, 0.35
_NOBODY = 0.06
_MOST_DISTRACTORS = 5
_ENLARGE_AT_MOST = 2.2
_PLACES_TRIED = 30
_HIDDEN_AT_MOST = 0.02  # share of a face that something pasted later may cover
_WHOLE_SHARE, _GONE_SHARE = 0.75, 0.1


@dataclass(frozen=True, slots=True)
class Style:
    """What scenes look like.

    Attributes:
        size: side of the square scene, px.
        most_faces: pasted into one scene, at most.
        least_face_px: smallest side of a face.
        most_face_share: largest side of a face, as a share of the scene's.
        most_turn: largest rotation in the picture's plane, degrees.
    """

    size: int = 320
    most_faces: int = 6
    least_face_px: float = 20.0
    most_face_share: float = 0.6
    most_turn: float = 35.0

    def __post_init__(self) -> None:
        largest = self.size * self.most_face_share
        if not (64 <= self.size <= 4096 and 8 <= self.least_face_px < largest):
            raise UsageError(
                f"scenes of {self.size} px cannot hold faces of {self.least_face_px:g} to "
                f"{largest:g} px.",
                remedy="Sizes are 64 to 4096 px; the smallest face is 8 px or more and smaller "
                "than the largest.",
            )
        if self.most_faces < 1 or not 0 <= self.most_turn <= 180:
            raise UsageError("at least one face per scene, turned by 0 to 180 degrees.")


@dataclass(frozen=True, slots=True)
class Composed:
    """A scene: boxes float32 `[n, 4]` within it, landmarks float32 `[n, 5, 2]`, and who it is."""

    image: Image
    boxes: Floats
    landmarks: Floats
    identities: tuple[str | None, ...]
    background: str

    def jpeg(self, quality: int) -> bytes:
        """Encoded as a camera would."""
        from PIL import Image as Pillow

        buffer = io.BytesIO()
        Pillow.fromarray(self.image).save(buffer, "JPEG", quality=quality)
        return buffer.getvalue()


def compose(people: Sequence[Sequence[Photo]], style: Style, rng: Rng) -> Composed:
    """A scene from photographs.

    Args:
        people: the photographs of each person, at least one of them pasteable.
        rng: decides everything; the same state gives the same scene.
    """
    canvas = _background(people, style, rng)
    for _ in range(int(rng.integers(_MOST_DISTRACTORS + 1))):
        _paste_distractor(canvas, people, style, rng)
    if rng.random() >= _NOBODY:
        wanted = min(1 + int(rng.poisson(1.4)), style.most_faces)
        low, high = np.log(style.least_face_px), np.log(style.most_face_share * style.size)
        # From far to near: who is near stands before the others.
        for side in sorted(np.exp(rng.uniform(low, high, wanted))):
            _paste_face(canvas, _somebody(people, rng), float(side), style, rng)
    image = _seen_by_camera(canvas.pixels, rng)
    return Composed(
        image,
        np.array(canvas.boxes, np.float32).reshape(-1, 4),
        np.array(canvas.landmarks, np.float32).reshape(-1, 5, 2),
        tuple(canvas.identities),
        canvas.background,
    )


class _Canvas:
    """A scene in the making; faces on it are never covered."""

    def __init__(self, pixels: Floats, background: str) -> None:
        self.pixels, self.background = pixels, background
        self.boxes: list[Doubles] = []
        self.landmarks: list[Floats] = []
        self.identities: list[str | None] = []

    def add(self, box: Doubles, landmarks: Floats, identity: str | None) -> None:
        side = self.pixels.shape[0]
        self.boxes.append(np.clip(box, 0, side))
        self.landmarks.append(landmarks)
        self.identities.append(identity)

    def would_hide(self, area: Doubles) -> bool:
        """Whether something in `area` would cover part of a face between eyes and mouth, or
        more than a trifle of the rest."""
        if not self.boxes:
            return False
        points = np.stack(self.landmarks).astype(np.float64)
        features = np.concatenate([points.min(1), points.max(1)], axis=1)
        return bool(
            (overlap(area, np.stack(self.boxes)) > _HIDDEN_AT_MOST).any()
            or (overlap(area, features) > 0).any()
        )

    def holds(self, box: Doubles, landmarks: Floats) -> bool:
        """Whether a face is in the picture, nearly whole, with all landmarks."""
        side = self.pixels.shape[0]
        whole = np.array([0, 0, side, side], np.float64)
        visible = float(overlap(whole, box[None])[0])
        return visible >= _WHOLE_SHARE and bool(((landmarks >= 1) & (landmarks <= side - 2)).all())


def _background(people: Sequence[Sequence[Photo]], style: Style, rng: Rng) -> _Canvas:
    kind = rng.random()
    photo = _any_photo(people, rng)
    if kind < _WHOLE_PHOTO and (canvas := _whole_photo(photo, style, rng)) is not None:
        return canvas
    if kind < _WHOLE_PHOTO + _PART:
        part = textures.without_face(photo, rng)
        if part is not None:
            return _Canvas(textures.stretched(part, rng, style.size, style.size), "part")
    return _Canvas(textures.drawn(rng, style.size, style.size), "drawn")


def _whole_photo(photo: Photo, style: Style, rng: Rng) -> _Canvas | None:
    """A photograph as it is, with all its faces; None if a face would be cut in half."""
    side = style.size
    extent = np.array([photo.width, photo.height], np.float64)
    least = side / extent.min()
    for _ in range(_PLACES_TRIED):
        scale = least * float(rng.uniform(1.0, 1.5))
        if scale > _ENLARGE_AT_MOST:
            return None
        target = extent / 2 * scale - rng.uniform(0, 1, 2) * (extent * scale - side)
        mirrored = bool(rng.random() < 0.5)
        if mirrored:
            target[0] = side - target[0]
        move = Move(extent / 2, target, scale, 0.0, mirrored)
        canvas = _Canvas(np.zeros((side, side, 3), np.float32), "photo")
        if _keeps_faces_whole(canvas, photo, move, style):
            canvas.pixels = warped(photo.read(), move.matrix, scale, side, side)
            return canvas
    return None


def _keeps_faces_whole(canvas: _Canvas, photo: Photo, move: Move, style: Style) -> bool:
    """Add a moved photograph's faces; False if one is neither in the scene nor out of it."""
    side = canvas.pixels.shape[0]
    whole = np.array([0, 0, side, side], np.float64)
    for number, (own, points) in enumerate(zip(photo.boxes, photo.landmarks, strict=True)):
        box, landmarks = move.box(own), move.points(points)
        size = np.sqrt((box[2:] - box[:2]).prod())
        if canvas.holds(box, landmarks) and size >= style.least_face_px:
            canvas.add(box, landmarks, photo.identity if number == photo.main else None)
        elif overlap(whole, box[None])[0] > _GONE_SHARE:
            return False
    return True


def _paste_face(canvas: _Canvas, photo: Photo, size: float, style: Style, rng: Rng) -> None:
    """A person into the scene, if there is a place that hides nobody."""
    own = photo.boxes[photo.main].astype(np.float64)
    sides = own[2:] - own[:2]
    scale = min(size / float(np.sqrt(sides.prod())), _ENLARGE_AT_MOST)
    turn = np.radians(
        np.clip(rng.normal(0, style.most_turn / 2.5), -style.most_turn, style.most_turn)
    )
    outlines = _person_outlines(photo, own, rng)
    points = photo.landmarks[photo.main]
    mirrored = bool(rng.random() < 0.5)
    for _ in range(_PLACES_TRIED):
        target = rng.uniform(0, canvas.pixels.shape[0], 2)
        move = Move((own[:2] + own[2:]) / 2, target, scale, float(turn), mirrored)
        box, landmarks = move.box(own), move.points(points)
        covered = np.concatenate([_around(move, outline) for outline in outlines])
        area = np.concatenate([covered.min(0), covered.max(0)])
        if canvas.holds(box, landmarks) and not canvas.would_hide(area):
            gap = min(own[:2].min(), photo.width - own[2], photo.height - own[3])
            paste(
                canvas.pixels,
                photo.read(),
                move,
                outlines,
                Light.random(rng),
                sigma=_out_of_focus(rng, scale),
                border=min(0.1 * min(photo.width, photo.height), 0.6 * gap),
            )
            canvas.add(box, landmarks, photo.identity)
            return


def _person_outlines(photo: Photo, box: Doubles, rng: Rng) -> tuple[Outline, ...]:
    """Face only, head with hair, or head and shoulders, as the picture has room for."""
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    kind = rng.random()
    grown = rng.uniform([1.1, 1.1], [1.3, 1.25]) if kind < 0.2 else rng.uniform(1.3, 1.75, 2)
    head = Outline.random(rng, middle - [0, (grown[1] - 1.05) * 0.4 * half[1]], half * grown)
    room_below = photo.height - 1 - box[3]
    if kind < 0.6 or room_below < 0.6 * half[1]:
        return (head,)
    sideways = min(middle[0], photo.width - 1 - middle[0])
    radii = np.array([min(sideways, half[0] * rng.uniform(1.8, 2.8)), room_below])
    return head, Outline.random(
        rng, np.array([middle[0], box[3] + 0.35 * room_below]), radii * 0.85
    )


def _paste_distractor(
    canvas: _Canvas, people: Sequence[Sequence[Photo]], style: Style, rng: Rng
) -> None:
    """Something that is no face, cut out and lit like one."""
    part = _no_face(people, rng)
    extent = np.array([part.shape[1], part.shape[0]], np.float64)
    size = float(np.exp(rng.uniform(np.log(style.least_face_px), np.log(0.7 * style.size))))
    scale = size / float(np.sqrt(extent.prod()))
    outline = Outline.random(rng, extent / 2, extent / 2 * rng.uniform(0.6, 0.85, 2))
    angle = float(rng.uniform(-np.pi, np.pi))
    for _ in range(_PLACES_TRIED):
        target = rng.uniform(0, canvas.pixels.shape[0], 2)
        move = Move(extent / 2, target, scale, angle, bool(rng.random() < 0.5))
        around = _around(move, outline)
        if not canvas.would_hide(np.concatenate([around.min(0), around.max(0)])):
            paste(
                canvas.pixels, part, move, (outline,), Light.random(rng),
                sigma=_out_of_focus(rng, min(scale, 1.0)), border=2.0,
            )  # fmt: skip
            return


def _no_face(people: Sequence[Sequence[Photo]], rng: Rng) -> Image:
    """Part of a photograph, a drawing, or a face whose pieces changed places."""
    kind = rng.random()
    if kind < 0.4:
        part = textures.without_face(_any_photo(people, rng), rng)
        if part is not None:
            return part
    elif kind < 0.6:
        photo = _somebody(people, rng)
        left, top, right, bottom = photo.boxes[photo.main].astype(int)
        return _shuffled(photo.read()[top:bottom, left:right], int(rng.integers(3, 6)), rng)
    return textures.drawn(rng, 96, 96).astype(np.uint8)


def _shuffled(face: Image, pieces: int, rng: Rng) -> Image:
    """Skin, eyes and mouth, but no face: a grid of pieces in another order, each turned."""
    side = max(2, min(face.shape[:2]) // pieces)
    cells = [
        np.rot90(face[y * side : (y + 1) * side, x * side : (x + 1) * side], int(rng.integers(4)))
        for y in range(pieces)
        for x in range(pieces)
    ]
    order = rng.permutation(len(cells))
    lines = [
        np.concatenate([cells[i] for i in order[start : start + pieces]], axis=1)
        for start in range(0, len(cells), pieces)
    ]
    return np.ascontiguousarray(np.concatenate(lines))


def _seen_by_camera(pixels: Floats, rng: Rng) -> Image:
    """Exposure, focus, grain and sometimes no colour, over everything alike."""
    import cv2

    seen = 255 * (np.clip(pixels, 0, 255) / 255) ** np.exp(rng.normal(0, 0.15))
    seen = seen * np.exp(rng.normal(0, 0.12))
    sigma = float(rng.uniform(0, 0.9))
    if sigma > 0.3:
        seen = cv2.GaussianBlur(seen, (0, 0), sigma)
    if rng.random() < 0.1:
        seen = np.repeat(seen @ np.array([[0.299], [0.587], [0.114]]), 3, axis=2)
    seen = seen + rng.normal(0, rng.uniform(0.5, 6), seen.shape)
    image: Image = np.clip(np.round(seen), 0, 255).astype(np.uint8)
    return image


def _around(move: Move, outline: Outline) -> Doubles:
    """Corners `[4, 2]` in the scene of what an outline can touch."""
    corners = outline.centre + SIGNS * outline.reach()
    matrix = move.matrix
    moved: Doubles = corners @ matrix[:, :2].T + matrix[:, 2]
    return moved


def _out_of_focus(rng: Rng, scale: float) -> float:
    """Blur in scene px; what is enlarged is smooth already."""
    return float(rng.uniform(0.3, 1.5)) if scale < 1 and rng.random() < 0.25 else 0.0


def _any_photo(people: Sequence[Sequence[Photo]], rng: Rng) -> Photo:
    photos = people[int(rng.integers(len(people)))]
    return photos[int(rng.integers(len(photos)))]


def _somebody(people: Sequence[Sequence[Photo]], rng: Rng) -> Photo:
    """A photo to paste: people equally often, however many photos they have."""
    own = [photo for photo in people[int(rng.integers(len(people)))] if photo.pasteable]
    return own[int(rng.integers(len(own)))]
