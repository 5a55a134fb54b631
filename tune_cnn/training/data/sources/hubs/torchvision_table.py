"""Every classification set of torchvision, and how its constructor is asked for a part: by train=, split= or not."""

from collections.abc import Mapping

from tune_cnn.training.data.sources.source import PartName
from tune_cnn.untyped import Plain

Parts = Mapping[PartName, Mapping[str, Plain]]  # of each part that there is, the constructor's arguments


def _split(train: str = "train", validation: str | None = None, test: str | None = "test") -> Parts:
    names: dict[PartName, str | None] = {"train": train, "validation": validation, "test": test}
    return {part: {"split": name} for part, name in names.items() if name is not None}


FLAG: Parts = {"train": {"train": True}, "test": {"train": False}}
WHOLE: Parts = {"train": {}}

SETS: dict[str, Parts] = {
    **dict.fromkeys(("MNIST", "FashionMNIST", "KMNIST", "QMNIST", "USPS", "CIFAR10", "CIFAR100"), FLAG),
    "EMNIST": {part: {"split": "balanced", **arguments} for part, arguments in FLAG.items()},
    **dict.fromkeys(("SVHN", "STL10", "GTSRB", "Food101", "StanfordCars", "FER2013", "LFWPeople"), _split()),
    **dict.fromkeys(("Flowers102", "DTD", "FGVCAircraft", "PCAM", "RenderedSST2"), _split(validation="val")),
    "Country211": _split(validation="valid"),
    "OxfordIIITPet": _split(train="trainval"),
    **dict.fromkeys(("Imagenette", "ImageNet"), _split(validation="val", test=None)),
    "Places365": _split(train="train-standard", validation="val", test=None),
    **dict.fromkeys(("EuroSAT", "SUN397", "Caltech101", "Caltech256", "SEMEION"), WHOLE),
    "Omniglot": {"train": {"background": True}},  # the other alphabets are other classes
    "INaturalist": {"train": {"version": "2021_train"}, "validation": {"version": "2021_valid"}},
}
