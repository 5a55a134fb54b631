"""How unequal the classes are, and what can be done about it."""

from collections.abc import Sequence

from tune_cnn.untyped import Plain

SLIGHT = 1.5  # times as many images in the largest class as in the smallest: below that training hardly notices
TO_PASTE = """\
objectives: [balanced_accuracy, train_time_s]
space:
  class_weights: [none, balanced, effective]
  class_sampling: [random, balanced]
"""
FEW = 20  # training images of a class: of fewer, a share held out tells little


def imbalance(train: Sequence[int]) -> dict[str, Plain]:
    """Of the classes' training images: the largest over the smallest, and advice in words; empty where none is due.

    spec: what a spec may say against it, as YAML; None where the classes are alike.
    """
    largest, smallest = max(train), min(train)
    ratio = largest / smallest
    advice = []
    if ratio >= SLIGHT:
        share, times = largest / sum(train), f"{ratio:,.{1 if ratio < 10 else 0}f} times"
        advice.append(
            f"the largest class has {times} the images of the smallest; a model that always answers it is "
            f"right {share:.0%} of the time, so hold accuracy against that"
        )
        advice.append(
            "add images of the small classes; or let the search try to weigh their images more in the loss "
            "(class_weights) and to show them more often (class_sampling), for balanced_accuracy, the mean of the "
            "classes' own accuracies"
        )
    few = sum(count < FEW for count in train)
    if few:
        advice.append(
            f"{few} of {len(train)} classes have fewer than {FEW} training images; fine-tune pretrained weights rather "
            "than train anew"
        )
    to_paste = TO_PASTE if ratio >= SLIGHT else None
    return {"largest": largest, "smallest": smallest, "ratio": ratio, "advice": advice, "spec": to_paste}
