# SPDX-License-Identifier: Apache-2.0
"""scikit-learn's handwritten digits as 48x48 images, with a fixed split into training and test sets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SIZE = 48
TEST_IMAGES = 360


def enlarge(images: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """[n, 8, 8] grey values 0..16, enlarged bilinearly to [n, 1, SIZE, SIZE] in -1..1."""
    at = np.clip((np.arange(SIZE) + 0.5) * 8 / SIZE - 0.5, 0, 7)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, 7)
    part = at - low
    rows = images[:, low, :] * (1 - part)[None, :, None] + images[:, high, :] * part[None, :, None]
    full = rows[:, :, low] * (1 - part) + rows[:, :, high] * part
    return (full[:, None] / 8 - 1).astype(np.float32)


def load() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Training images and labels, test images and labels; images are [n, 1, SIZE, SIZE] float32 in -1..1."""
    digits = load_digits()
    train, test, train_labels, test_labels = train_test_split(
        digits.images, digits.target, test_size=TEST_IMAGES, random_state=7, stratify=digits.target
    )
    return enlarge(train), train_labels.astype(np.int64), enlarge(test), test_labels.astype(np.int64)
