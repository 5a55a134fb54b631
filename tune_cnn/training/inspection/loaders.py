"""Which loaders can serve the images that were found."""

import torch

from tune_cnn.spec import StudySpec
from tune_cnn.training.data.image_sets import ImageSet, ImageSets
from tune_cnn.training.data.loaders.device import NOT_CACHED
from tune_cnn.training.data.loaders.through_dataloader import why_not_in_processes
from tune_cnn.training.data.sources.packed.file import PackReader
from tune_cnn.training.data.sources.packed.on_device import DecoderOnDevice
from tune_cnn.training.messages import LoadersFound

PER_IMAGE = {"batched": False, "stream": True}
PACKED = (
    "needs the decoded images or a GPU that decodes them, but this data set is kept as JPEGs (data.cache), and the "
    "trials have no GPU"
)
REFUSED = "decodes the JPEGs that this data set is kept as (data.cache) on the GPU, which can't"


def inspect_loaders(spec: StudySpec, images: ImageSets, *, cuda: bool) -> LoadersFound:
    """Try what each loader of the spec needs of the images; nothing is loaded, but a JPEG decoded on a GPU."""
    asked = [str(loader) for loader in spec.dimension("loader").values]
    why = why_not_on_device(images.train, torch.device("cuda" if cuda else "cpu")) if "device" in asked else None
    impossible = {"device": why} if why else {}
    if spec.dimension("loader_workers").largest == 0:
        return LoadersFound(impossible=impossible)
    tried = {
        loader: why_not_in_processes(images.train, per_image=PER_IMAGE[loader])
        for loader in asked
        if loader in PER_IMAGE
    }
    return LoadersFound(impossible=impossible, without_processes={name: why for name, why in tried.items() if why})


def why_not_on_device(images: ImageSet, device: torch.device) -> str | None:
    """None where the decoded images are at hand, or a GPU decodes them. Follows on "it" or the loader's name."""
    if images.images is not None:
        return None
    if not isinstance(images.reader, PackReader):
        return NOT_CACHED
    if device.type != "cuda":
        return PACKED
    refused = DecoderOnDevice(images.reader, device).why_not(images.indices)
    return f"{REFUSED} ({refused})" if refused else None
