import numpy as np

from hrm_core.tasks.confidence import sigmoid


def test_sigmoid_is_that_of_float64_for_logits_of_any_size() -> None:
    logits = np.array([-1e30, -40, -1.5, 0, 1.5, 40, 1e30], np.float32)
    found = sigmoid(logits)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found[2:5], 1 / (1 + np.exp(-logits[2:5].astype(float))), rtol=1e-15)
    assert found[[0, 1, 3, 5, 6]].tolist() == [0, 0, 0.5, 1, 1]
