"""The binary COPY format: exact float16, any number of rows."""

import numpy as np
import pytest

from facecore.stores.catalog.faces import vector_copy


@pytest.mark.parametrize("count", [0, 1, 1000])
@pytest.mark.parametrize("dimension", [1, 128, 512])
def test_decoding_undoes_encoding_up_to_float16(count, dimension):
    vectors = np.random.default_rng(0).normal(size=(count, dimension)).astype(np.float32)
    ids = np.arange(count, dtype=np.int64) * 2**40
    back_ids, back = vector_copy.decode(vector_copy.encode(ids, vectors), dimension)
    assert back.dtype == np.float32
    assert back_ids.dtype == np.int64
    np.testing.assert_array_equal(back_ids, ids)
    np.testing.assert_array_equal(back, vectors.astype(np.float16).astype(np.float32))
