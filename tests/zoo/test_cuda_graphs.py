"""How batches are cut for CUDA graphs. That graphs compute what the network does is checked where
there is a GPU, by benchmarks/gpu_extraction.py."""

from facecore.zoo.cuda_graphs import pieces


def test_batches_are_cut_into_few_different_sizes():
    sizes = set()
    for rows in range(1, 2000):
        parts = pieces(rows)
        assert sum(parts) == rows
        assert parts == sorted(parts, reverse=True)
        sizes.update(part for part in parts if part >= 64)
        assert all(part >= 64 for part in parts[:-1])
    assert sizes == {64, 128, 256, 512}
    assert pieces(384) == [256, 128]
    assert pieces(0) == [0]
