"""Box coding, warping and landmarks: what every region detector shares."""

import math

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder

from facecore.zoo.box_coding import WEIGHTS, decode, encode, expand
from facecore.zoo.landmark_head import MEAN_FACE, LandmarkHead, warp
from facecore.zoo.region_detector import fitted


def test_box_coding_round_trips_and_agrees_with_torchvision(scattered_boxes):
    proposals, true = scattered_boxes(50), scattered_boxes(50, seed=1)
    offsets = encode(proposals, true)
    torch.testing.assert_close(decode(proposals, offsets), true, rtol=1e-5, atol=1e-3)
    reference = BoxCoder(WEIGHTS)
    torch.testing.assert_close(offsets, reference.encode_single(true, proposals))
    wild = torch.randn(50, 4) * 30
    torch.testing.assert_close(decode(proposals, wild), reference.decode_single(wild, proposals))


def test_box_coding_by_hand():
    proposal, true = torch.tensor([[0.0, 0.0, 10.0, 20.0]]), torch.tensor([[5.0, 0.0, 25.0, 20.0]])
    tx, ty, tw, th = (encode(proposal, true)[0] / torch.tensor(WEIGHTS)).tolist()
    assert (tx, ty) == pytest.approx(((15 - 5) / 10, 0))
    assert (tw, th) == pytest.approx((math.log(2), 0))
    assert expand(proposal, 2.0).tolist() == [[-5.0, -10.0, 15.0, 30.0]]


def test_warping_shows_what_lies_in_the_box():
    ramp = torch.arange(64.0).repeat(64, 1) / 64
    image = torch.stack([ramp, ramp.T, torch.zeros(64, 64)])
    (pixels,) = warp(image, torch.tensor([[16.0, 0.0, 48.0, 32.0]]), 8, context=1.0)
    centres = 16 + (torch.arange(8) + 0.5) * 4
    torch.testing.assert_close(pixels[0], ((centres - 0.5) / 64).expand(8, 8))
    outside = warp(image, torch.tensor([[200.0, 200.0, 300.0, 300.0]]), 8, context=1.0)
    torch.testing.assert_close(outside, torch.full((1, 3, 8, 8), 0.5))


def test_warping_a_large_box_averages():
    stripes = (torch.arange(800) % 2).float().repeat(800, 1).expand(3, 800, 800)
    pixels = warp(stripes, torch.tensor([[0.0, 0.0, 800.0, 800.0]]), 8, context=1.0)
    assert float((pixels - 0.5).abs().max()) < 0.02


def test_an_untrained_landmark_head_answers_the_mean_face():
    head = LandmarkHead().eval()
    image = torch.rand(3, 100, 100)
    with torch.inference_mode():
        (points,) = head.locate(image, torch.tensor([[10.0, 20.0, 50.0, 70.0]]))
    expected = torch.tensor([[10 + 40 * u, 20 + 50 * v] for u, v in MEAN_FACE])
    assert float((points - expected).abs().max()) < 10
    assert head.locate(image, torch.zeros(0, 4)).shape == (0, 5, 2)


def test_the_landmark_head_learns_where_the_points_are(drawn_face):
    torch.manual_seed(0)
    head = LandmarkHead(width=8).train()
    image, target = drawn_face()
    pixels = image.float() / 255
    optimizer = torch.optim.Adam(head.parameters(), 3e-3)
    first = head.loss([pixels] * 4, [target] * 4).item()
    for _ in range(40):
        loss = head.loss([pixels] * 4, [target] * 4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < first / 2


def test_fitting_keeps_the_form():
    pixels, scale = fitted(torch.rand(3, 50, 200), 100)
    assert pixels.shape == (3, 25, 100)
    assert scale.tolist() == [0.5, 0.5, 0.5, 0.5]
    assert fitted(torch.rand(3, 1, 1), 64)[0].shape == (3, 64, 64)
