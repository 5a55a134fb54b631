"""What is published of Fashion-MNIST, CIFAR-10, CIFAR-100 and SVHN."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PublishedSet:
    """What is published about a set; `files` are relative to data.root."""

    files: tuple[str, ...]
    archives: tuple[str, ...]  # any of these in place of `files`: torchvision unpacks them
    where: str  # from which they come
    images: int
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]


_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_IDX_FILES = tuple(f"FashionMNIST/raw/{name}" for name in _IDX)
_CIFAR10_FILES = (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta")
_DIGITS = tuple(str(digit) for digit in range(10))

# In the order of the labels; the reader's own list is held against it.
CIFAR100_NAMES = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly "
    "camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup "
    "dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower "
    "leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid "
    "otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray "
    "road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar "
    "sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle "
    "wardrobe whale willow_tree wolf woman worm"
)
CIFAR100_CLASSES = tuple(CIFAR100_NAMES.split())

KNOWN: dict[str, PublishedSet] = {
    "fashion_mnist": PublishedSet(
        files=_IDX_FILES,
        archives=tuple(f"{file}.gz" for file in _IDX_FILES),
        where="https://github.com/zalandoresearch/fashion-mnist",
        images=70_000,
        image_shape=(1, 28, 28),
        classes=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
    ),
    "cifar10": PublishedSet(
        files=tuple(f"cifar-10-batches-py/{name}" for name in _CIFAR10_FILES),
        archives=("cifar-10-python.tar.gz",),
        where="https://www.cs.toronto.edu/~kriz/cifar.html",
        images=60_000,
        image_shape=(3, 32, 32),
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    ),
    "cifar100": PublishedSet(
        files=tuple(f"cifar-100-python/{name}" for name in ("train", "test", "meta")),
        archives=("cifar-100-python.tar.gz",),
        where="https://www.cs.toronto.edu/~kriz/cifar.html",
        images=60_000,
        image_shape=(3, 32, 32),
        classes=CIFAR100_CLASSES,
    ),
    "svhn": PublishedSet(
        files=("train_32x32.mat", "test_32x32.mat"),
        archives=(),
        where="http://ufldl.stanford.edu/housenumbers/",
        images=99_289,
        image_shape=(3, 32, 32),
        classes=_DIGITS,
    ),
}
