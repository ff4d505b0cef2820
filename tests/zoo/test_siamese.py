import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from facecore.errors import ConfigError, ShapeError
from facecore.zoo import registry
from facecore.zoo.placement import place

PEOPLE, EACH, DIMENSION = 24, 6, 16


def matcher(**options):
    torch.manual_seed(0)
    return registry.create("siamese", dimension=DIMENSION, **options)


def pairs(seed):
    """Embeddings of people whose likeness shows in half of the components only."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(PEOPLE, 1, DIMENSION, generator=generator)
    noise = torch.randn(PEOPLE, EACH, DIMENSION, generator=generator)
    noise *= torch.where(torch.arange(DIMENSION) < DIMENSION // 2, 0.4, 3.0)
    vectors = F.normalize((centres + noise).flatten(0, 1), dim=1)
    left = torch.randint(len(vectors), (800,), generator=generator)
    right = torch.randint(len(vectors), (800,), generator=generator)
    half = torch.arange(800) < 400
    right = torch.where(half, left // EACH * EACH + right % EACH, right)
    return vectors[left], vectors[right], left // EACH == right // EACH


def test_swapping_the_faces_changes_no_bit():
    network = matcher()
    a, b = torch.randn(2, 50, DIMENSION)
    with torch.inference_mode():
        assert torch.equal(network(a, b), network(b, a))
        assert torch.equal(network.probability(a, b), network.probability(b, a))
        half = place(network, torch.device("cpu"), torch.bfloat16, (1, DIMENSION))
        assert torch.equal(half(a, b), half(b, a))
        torch.testing.assert_close(half(a, b), network(a, b), atol=0.1, rtol=0.05)


def test_it_starts_from_the_cosine():
    a, b, _ = pairs(1)
    with torch.inference_mode():
        logits = matcher()(a, b)
    cosine = (a * b).sum(1)
    assert torch.corrcoef(torch.stack([logits, cosine]))[0, 1] > 0.99
    torch.testing.assert_close(matcher()(3 * a, b), logits)  # length does not matter


def test_it_learns_more_than_the_cosine_knows():
    network = matcher(dropout=0.0).train()
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    a, b, same = pairs(1)
    for _ in range(150):
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(network(a, b), same.float()).backward()
        optimiser.step()
    network.eval()
    a, b, same = pairs(2)  # other people
    with torch.inference_mode():
        logits = network(a, b)
    cosine = (a * b).sum(1)
    best = max(float(((cosine > t) == same).float().mean()) for t in cosine)
    assert float(((logits > 0) == same).float().mean()) > best + 0.03


def test_calibration_is_platts_and_travels_with_the_weights(tmp_path):
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, 3000)
    same = generator.random(3000) < 1 / (1 + np.exp(-(0.4 * logits - 1.5)))
    network = matcher()
    network.calibrate(torch.from_numpy(logits).float(), torch.from_numpy(same))
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(logits[:, None], same)
    slope, offset = network.calibration.tolist()
    assert slope == pytest.approx(float(reference.coef_[0, 0]), rel=0.01)  # Platt's targets
    assert offset == pytest.approx(float(reference.intercept_[0]), rel=0.01)
    a, b = torch.randn(2, 5, DIMENSION)
    digest = registry.save("siamese", network, tmp_path / "m", dimension=DIMENSION)
    loaded = registry.load("siamese", tmp_path / "m", digest)
    with torch.inference_mode():
        expected = torch.sigmoid(slope * network(a, b) + offset)
        torch.testing.assert_close(loaded.probability(a, b), expected)


def test_separable_logits_stay_finite():
    network = matcher()
    network.calibrate(torch.tensor([-1000.0, -900.0, 900.0, 1000.0]), torch.arange(4) > 1)
    assert torch.isfinite(network.calibration).all()
    slope, offset = network.calibration.tolist()
    # With two pairs of each kind, Platt's targets are 3/4 and 1/4.
    assert torch.sigmoid(torch.tensor(slope * 950 + offset)) == pytest.approx(0.75, abs=0.02)


def test_what_cannot_be_calibrated_is_refused():
    network = matcher()
    with pytest.raises(ConfigError, match="3 pairs of one person and 0 of two"):
        network.calibrate(torch.zeros(3), torch.ones(3, dtype=torch.bool))
    with pytest.raises(ConfigError, match="not higher for one person"):
        network.calibrate(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([True, True, False]))
    with pytest.raises(ConfigError, match="not higher for one person"):
        network.calibrate(torch.ones(4), torch.arange(4) > 1)
    with pytest.raises(ShapeError):
        network.calibrate(torch.zeros(3, 1), torch.ones(3, dtype=torch.bool))
    assert network.calibration.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("a", "b"), [((3, 8), (3, 8)), ((3, 16), (2, 16)), ((16,), (16,))])
def test_other_shapes_are_refused(a, b):
    with pytest.raises(ShapeError, match="embeddings"):
        matcher()(torch.zeros(a), torch.zeros(b))
