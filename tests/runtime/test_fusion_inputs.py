from __future__ import annotations

import numpy as np
from numpy.testing import assert_array_equal

from hemogat.runtime.bundle import Dims
from hemogat.runtime.fusion_inputs import fusion_feeds


def test_absent_embeddings_are_zeros_and_marked() -> None:
    audio, text = np.full(2, 3.0, np.float32), np.full(3, 5.0, np.float32)
    feeds = fusion_feeds([(audio, text), (None, text), (audio, None)], Dims(audio=2, text=3))
    assert_array_equal(feeds["audio_embedding"], [[3, 3], [0, 0], [3, 3]])
    assert_array_equal(feeds["text_embedding"], [[5, 5, 5], [5, 5, 5], [0, 0, 0]])
    assert_array_equal(feeds["present"], [[True, True], [False, True], [True, False]])
    assert {name: value.dtype for name, value in feeds.items()} == {
        "audio_embedding": np.float32,
        "text_embedding": np.float32,
        "present": np.bool_,
    }
