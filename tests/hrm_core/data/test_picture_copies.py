import numpy as np

from hrm_core.data.picture_copies import MAX_BRIGHTNESS, MAX_CONTRAST, changed

PIXELS = np.random.default_rng(2).integers(60, 190, (24, 36), np.uint8)


def test_a_copy_is_the_picture_shifted_with_other_brightness_and_contrast() -> None:
    """Some shift of at most 1/12 makes it a linear function of the picture."""
    for seed in range(20):
        copy = changed(PIXELS, np.random.default_rng(seed))
        inner = copy[3:-3, 3:-3].astype(float)
        fits = []
        for row in range(-2, 3):
            for column in range(-3, 4):
                part = PIXELS[3 - row : 21 - row, 3 - column : 33 - column].astype(float)
                slope, offset = np.polyfit(part.ravel(), inner.ravel(), 1)
                fits.append((abs(slope * part + offset - inner).max(), slope, offset))
        gap, slope, offset = min(fits)
        assert gap < 1.1
        assert 1 / MAX_CONTRAST - 0.01 <= slope <= MAX_CONTRAST + 0.01
        assert abs(offset - (1 - slope) * PIXELS.mean()) < MAX_BRIGHTNESS + 2


def test_equal_streams_give_equal_copies_and_others_other_ones() -> None:
    first, second = (changed(PIXELS, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(first, second, strict=True)
    assert (changed(PIXELS, np.random.default_rng(2)) != first).any()


def test_frames_are_changed_alike() -> None:
    frames = np.stack([PIXELS, PIXELS])
    copies = changed(frames, np.random.default_rng(3))
    np.testing.assert_array_equal(copies[0], copies[1], strict=True)


def test_every_other_copy_is_mirrored_if_asked() -> None:
    ramp = np.tile(np.arange(50, 200, 5, dtype=np.uint8), (30, 1))
    falls = []
    for seed in range(60):
        copy = changed(ramp, np.random.default_rng(seed), flip=True).astype(int)
        falls.append(copy[:, 0].mean() > copy[:, -1].mean())
        plain = changed(ramp, np.random.default_rng(seed)).astype(int)
        assert plain[:, 0].mean() < plain[:, -1].mean()
    assert 15 < sum(falls) < 45
