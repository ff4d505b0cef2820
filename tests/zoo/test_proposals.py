"""Selective search."""

import copy

import pytest
import torch
import torchvision

from facecore.zoo.proposals import ProposalCache, selective_search


def test_proposals_cover_a_face(drawn_face):
    image, target = drawn_face()
    proposals = selective_search(image)
    overlap = torchvision.ops.box_iou(target["boxes"], proposals).max()
    assert float(overlap) >= 0.7
    assert 1 <= len(proposals) <= 400


def test_proposals_of_a_large_image_are_in_its_pixels(drawn_face):
    image, target = drawn_face(900, 1200, (300, 200, 660, 660))
    overlap = torchvision.ops.box_iou(target["boxes"], selective_search(image)).max()
    assert float(overlap) >= 0.6


def test_proposals_are_the_same_every_time_and_limited():
    noise = torch.randint(0, 256, (3, 120, 120), dtype=torch.uint8)
    first = selective_search(noise)
    assert torch.equal(first, selective_search(noise))
    few = selective_search(noise, limit=5)
    assert len(few) == min(5, len(first))
    area = (few[:, 2:] - few[:, :2]).prod(1)
    assert bool((area.diff() >= 0).all())


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 400), (8, 8), (40, 40)])
def test_nothing_to_segment(height, width):
    proposals = selective_search(torch.full((3, height, width), 9, dtype=torch.uint8))
    assert proposals.shape[1:] == (4,)


def test_known_images_are_not_searched_again(monkeypatch):
    searched = []

    def search(image, *, side, limit):
        searched.append(tuple(image.shape))
        return torch.zeros(0, 4)

    monkeypatch.setattr("facecore.zoo.proposals.selective_search", search)
    cache = ProposalCache(side=64, limit=10, images=2)
    a, b, c = (torch.full((3, 6, 4), i, dtype=torch.uint8) for i in range(3))
    for image in (a, b, a, b):
        cache(image)
    assert len(searched) == 2
    cache(a.reshape(3, 4, 6))  # the same bytes in another form; b's is the oldest but one now
    cache(c)
    cache(b)
    assert len(searched) == 5
    assert len(copy.deepcopy(cache)._known) == 0
