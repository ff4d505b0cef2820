"""What each goal is for and what it needs."""

from __future__ import annotations

from dataclasses import dataclass

from facecore.lifecycle.training.plan import GoalName


@dataclass(frozen=True, slots=True)
class GoalSpec:
    """A goal's needs.

    Attributes:
        task: of the models it can train.
        identities: it needs to know who is on each picture.
        mined: it compares pictures within a batch, which must hold several of each identity.
        teacher: it needs the champion embedder.
        about: one sentence for forms and help.
    """

    task: str
    about: str
    identities: bool = False
    mined: bool = False
    teacher: bool = False


GOALS: dict[GoalName, GoalSpec] = {
    "triplet": GoalSpec(
        "embed",
        "closer to oneself than to others by a margin; semi-hard negatives, squared L2 (FaceNet)",
        identities=True,
        mined=True,
    ),
    "contrastive": GoalSpec(
        "embed",
        "pairs of one person together, of two people apart by a margin",
        identities=True,
        mined=True,
    ),
    "softmax": GoalSpec(
        "embed", "tell the training identities apart by a linear classifier", identities=True
    ),
    "arcface": GoalSpec(
        "embed", "softmax on angles with an additive margin (ArcFace)", identities=True
    ),
    "sface": GoalSpec("embed", "sigmoid-constrained hypersphere loss (SFace)", identities=True),
    "distill": GoalSpec(
        "embed",
        "copy the champion's embeddings of augmented pictures; needs no labels",
        teacher=True,
    ),
    "match": GoalSpec(
        "match",
        "a head that says whether two embeddings of the champion are one person, calibrated",
        identities=True,
        teacher=True,
    ),
    "detect": GoalSpec("detect", "the detector's own losses on boxes and landmarks"),
    "reconstruct": GoalSpec(
        "reconstruct", "draw a face again from a short code; needs no labels, calibrates itself"
    ),
    "forecast": GoalSpec(
        "forecast", "quantiles of the activity of the next hours, and of people's next visits"
    ),
}
