"""Labels that a network can be trained on."""

import numpy as np

from tune_cnn.errors import DataError
from tune_cnn.training.data.cache import Entry


def check_labels(entry: Entry, name: str) -> None:
    """DataError where there is one class only, a label names no class, or a class has no training image."""
    classes = entry.classes
    if len(classes) < 2:
        raise DataError(f"data: {name} has one class only ({', '.join(classes) or 'none'}); training needs two or more")
    for part, (start, stop) in entry.parts.items():
        labels_n = entry.labels_n[start:stop]
        if not len(labels_n):
            raise DataError(f"data: {name} has no {part} images")
        wrong = np.flatnonzero((labels_n < 0) | (labels_n >= len(classes)))
        if len(wrong):
            raise DataError(
                f"data: labels of {name} must be 0 to {len(classes) - 1}, got {labels_n[wrong[0]]} at {part} image "
                f"{wrong[0]} ({len(wrong)} such labels); number the classes from 0"
            )
    start, stop = entry.parts.get("train", (0, 0))
    if start == stop:
        raise DataError(f"data: {name} has no train images")
    missing = sorted(set(range(len(classes))) - set(np.unique(entry.labels_n[start:stop]).tolist()))
    if missing:
        named = ", ".join(repr(classes[label]) for label in missing[:10])
        raise DataError(
            f"data: every class needs training images, but {len(missing)} of {len(classes)} in {name} have none: "
            f"{named}; add images or number the classes without gaps"
        )
