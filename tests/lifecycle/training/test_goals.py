"""Every loss against a reference written with numpy."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from facecore.lifecycle.training.goals.losses import EmbeddedBatch, make_goal
from facecore.lifecycle.training.goals.sface import SFaceLoss
from facecore.lifecycle.training.plan import TrainingPlan

LABELS = np.array([0, 0, 1, 1, 2, 2, 2, 0])
D, IDENTITIES = 6, 3
Plan = Callable[..., TrainingPlan]


@pytest.fixture
def vectors() -> np.ndarray:
    rng = np.random.default_rng(5)
    found = rng.normal(size=(len(LABELS), D))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def goal(plan: Plan, name: str, **more: object) -> nn.Module:
    torch.manual_seed(0)
    settings = {"dimension": D, "identities": IDENTITIES, **more}
    made = make_goal(name, plan(goals=name), **settings)  # type: ignore[arg-type]
    return made.double()


def batch_of(vectors: np.ndarray, **more: object) -> EmbeddedBatch:
    return EmbeddedBatch(
        lambda: torch.tensor(vectors),
        torch.tensor(LABELS),
        **more,  # type: ignore[arg-type]
    )


def cross_entropy(logits: np.ndarray) -> float:
    rows = logits - logits.max(axis=1, keepdims=True)
    chosen = rows[np.arange(len(rows)), LABELS]
    return float((np.log(np.exp(rows).sum(axis=1)) - chosen).mean())


def test_triplet_takes_semi_hard_negatives_by_squared_distance(
    plan: Plan, vectors: np.ndarray
) -> None:
    squared = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    losses = []
    for a, p, n in product(range(len(LABELS)), repeat=3):
        if a == p or LABELS[a] != LABELS[p] or LABELS[a] == LABELS[n]:
            continue
        if 0 < squared[a, n] - squared[a, p] <= 0.2:
            losses.append(squared[a, p] - squared[a, n] + 0.2)
    assert len(losses) > 3
    expected = np.mean([loss for loss in losses if loss > 0])
    assert float(goal(plan, "triplet")(batch_of(vectors))) == pytest.approx(expected)


def test_contrastive_pulls_pairs_together_and_pushes_others_apart(
    plan: Plan, vectors: np.ndarray
) -> None:
    distance = np.sqrt(((vectors[:, None] - vectors[None]) ** 2).sum(axis=2))
    same = LABELS[:, None] == LABELS[None]
    genuine = distance[same & ~np.eye(len(LABELS), dtype=bool)] ** 2
    impostors = np.maximum(0, 1 - distance[~same]) ** 2
    assert (impostors > 0).sum() > 3
    expected = genuine[genuine > 0].mean() + impostors[impostors > 0].mean()
    assert float(goal(plan, "contrastive")(batch_of(vectors))) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("margin", "expected"),
    [
        (1.0, 0.8 + 0.135089),  # 1 − √0.4, squared; the other impostor is beyond
        (2.0, 0.8 + (1.870178 + 0.343146) / 2),  # 2 − √0.4 and 2 − √2, squared
    ],
)
def test_contrastive_squares_distances_and_shortfalls(
    plan: Plan, margin: float, expected: float
) -> None:
    # Squared distances: 0.8 of the two of one person, 0.4 and 2 of either to the third.
    vectors = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, -0.6]])
    made = make_goal(
        "contrastive", plan(goals="contrastive", margin=margin), dimension=2, identities=2
    )
    batch = EmbeddedBatch(lambda: vectors, torch.tensor([0, 0, 1]))
    assert float(made(batch)) == pytest.approx(expected, rel=1e-5)


def test_contrastive_of_pairs_that_are_where_they_should_be_is_nothing(plan: Plan) -> None:
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    batch = EmbeddedBatch(lambda: vectors, torch.tensor([0, 0, 1]))
    value = goal(plan, "contrastive").float()(batch)
    value.backward()
    assert float(value.detach()) == 0
    assert vectors.grad is not None
    assert float(vectors.grad.abs().max()) == 0


def test_softmax_is_cross_entropy_of_a_linear_head(plan: Plan, vectors: np.ndarray) -> None:
    made = goal(plan, "softmax")
    weight, bias = (p.detach().numpy() for p in made.parameters())
    expected = cross_entropy(16 * vectors @ weight.T + bias)
    assert float(made(batch_of(vectors))) == pytest.approx(expected, rel=1e-5)


def test_softmax_uses_the_models_own_classifier(plan: Plan, vectors: np.ndarray) -> None:
    logits = np.random.default_rng(1).normal(size=(len(LABELS), IDENTITIES))
    made = goal(plan, "softmax", own_classifier=True)
    assert not list(made.parameters())
    found = made(
        EmbeddedBatch(
            lambda: pytest.fail("not needed"),
            torch.tensor(LABELS),
            logits=lambda: torch.tensor(logits),
        )
    )
    assert float(found) == pytest.approx(cross_entropy(logits), rel=1e-5)


def test_arcface_widens_the_angle_of_the_true_identity(plan: Plan, vectors: np.ndarray) -> None:
    made = goal(plan, "arcface")
    (weight,) = (p.detach().numpy() for p in made.parameters())
    cosine = vectors @ (weight / np.linalg.norm(weight, axis=0))
    rows = np.arange(len(LABELS))
    angle = np.arccos(cosine[rows, LABELS])
    assert angle.max() < np.pi - 0.5, "the reference has no branch for angles beyond"
    cosine[rows, LABELS] = np.cos(angle + 0.5)
    assert float(made(batch_of(vectors))) == pytest.approx(cross_entropy(32 * cosine), rel=1e-5)


def sface_reference(vectors: np.ndarray, centres: np.ndarray) -> tuple[float, np.ndarray]:
    """Loss and its gradient by the vectors, as in the paper, sums written out."""
    s, k, a, b = 64.0, 80.0, 0.80, 1.22
    unit = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    total, gradient = 0.0, np.zeros_like(vectors)
    for i, vector in enumerate(vectors):
        for j, centre in enumerate(unit):
            angle = np.arccos(vector @ centre)
            if j == LABELS[i]:
                weight = -s / (1 + np.exp(-k * (angle - a)))
            else:
                weight = s / (1 + np.exp(k * (angle - b)))
            total += weight * (vector @ centre)
            # Of a unit vector, only the part along the sphere moves it.
            gradient[i] += weight * (centre - (vector @ centre) * vector)
    return total / len(vectors), gradient / len(vectors)


def test_sface_is_the_papers_loss_and_gradient(vectors: np.ndarray) -> None:
    torch.manual_seed(2)
    loss = SFaceLoss(D, IDENTITIES).double()
    with torch.no_grad():  # near its centre, so that the inner sigmoid is not saturated
        loss.centres[0] = torch.tensor(vectors[0] + 0.3 * vectors[3])
    embeddings = torch.tensor(vectors, requires_grad=True)
    value = loss(embeddings, torch.tensor(LABELS))
    value.backward()
    expected, gradient = sface_reference(vectors, loss.centres.detach().numpy())
    assert float(value) == pytest.approx(expected)
    assert embeddings.grad is not None
    np.testing.assert_allclose(embeddings.grad.numpy(), gradient, atol=1e-9)


def distillation(own: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """The distance, and the whole loss, of unit vectors."""
    distance = 1 - (own * targets).sum(axis=1).mean()
    logits, soft = own @ targets.T / 0.07, targets @ targets.T / 0.07
    log_found = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = np.exp(soft) / np.exp(soft).sum(axis=1, keepdims=True)
    return distance, distance - 0.25 * (expected * log_found).sum(axis=1).mean()


def test_distill_asks_how_far_the_teacher_is_and_whose_vector_it_is(
    plan: Plan, vectors: np.ndarray
) -> None:
    targets = vectors[::-1].copy()
    made = goal(plan, "distill", teacher_dimension=D)
    assert not list(made.parameters())
    batch = batch_of(vectors, targets=torch.tensor(targets))
    distance, whole = distillation(vectors, targets)
    assert float(made.distance(batch)) == pytest.approx(distance)  # type: ignore[operator]
    assert float(made(batch)) == pytest.approx(whole)


def test_distill_is_least_where_the_teacher_is(plan: Plan, vectors: np.ndarray) -> None:
    """Also where two of the batch look alike to it."""
    targets = vectors.copy()
    targets[1] = targets[0] + 0.1 * targets[1]
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    made = goal(plan, "distill", teacher_dimension=D)
    own = torch.tensor(targets, requires_grad=True)
    made(
        EmbeddedBatch(
            lambda: torch.nn.functional.normalize(own),
            torch.tensor(LABELS),
            targets=torch.tensor(targets),
        )
    ).backward()
    assert own.grad is not None
    assert float(own.grad.abs().max()) < 1e-9


def test_distill_learns_the_way_to_a_teacher_of_another_length(
    plan: Plan, vectors: np.ndarray
) -> None:
    made = goal(plan, "distill", teacher_dimension=3)
    weight, bias = (p.detach().numpy() for p in made.parameters())
    targets = np.random.default_rng(4).normal(size=(len(LABELS), 3))
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    projected = vectors @ weight.T + bias
    projected /= np.linalg.norm(projected, axis=1, keepdims=True)
    found = made(batch_of(vectors, targets=torch.tensor(targets)))
    assert float(found) == pytest.approx(distillation(projected, targets)[1])


@pytest.mark.parametrize("name", ["match", "detect"])
def test_other_goals_are_no_losses_of_embeddings(plan: Plan, name: str) -> None:
    with pytest.raises(ValueError, match="not an embedder's"):
        make_goal(name, plan(), dimension=2, identities=2)  # type: ignore[arg-type]
