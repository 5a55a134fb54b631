"""How unequal the classes are, and what can be done about it."""

from collections.abc import Sequence

from tune_cnn.untyped import Plain

SLIGHT = 1.5  # times as many images in the largest class as in the smallest: below that training hardly notices
FEW = 20  # training images of a class: of fewer, a share held out tells little


def imbalance(train: Sequence[int]) -> dict[str, Plain]:
    """Of the classes' training images: the largest over the smallest, and advice in words; empty where none is due."""
    largest, smallest = max(train), min(train)
    ratio = largest / smallest
    advice = []
    if ratio >= SLIGHT:
        share = largest / sum(train)
        advice.append(
            f"the largest class has {ratio:.1f} times the images of the smallest; a model that always answers it is "
            f"right {share:.0%} of the time, so hold accuracy against that"
        )
        advice.append(
            "add images of the small classes, or take accuracy by class as an objective of your own (metrics.<name>."
            "call)"
        )
    few = sum(count < FEW for count in train)
    if few:
        advice.append(
            f"{few} of {len(train)} classes have fewer than {FEW} training images; fine-tune pretrained weights rather "
            "than train anew"
        )
    return {"largest": largest, "smallest": smallest, "ratio": ratio, "advice": advice}
