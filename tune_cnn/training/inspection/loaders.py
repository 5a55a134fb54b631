"""Which loaders can serve the images that were found."""

from tune_cnn.spec import StudySpec
from tune_cnn.training.data.image_sets import ImageSets
from tune_cnn.training.data.loaders.device import why_not_on_device
from tune_cnn.training.data.loaders.through_dataloader import why_not_in_processes
from tune_cnn.training.messages import LoadersFound

PER_IMAGE = {"batched": False, "stream": True}


def inspect_loaders(spec: StudySpec, images: ImageSets) -> LoadersFound:
    """Try what each loader of the spec needs of the images; nothing is loaded."""
    asked = [str(loader) for loader in spec.dimension("loader").values]
    why = why_not_on_device(images.train) if "device" in asked else None
    impossible = {"device": why} if why else {}
    if spec.dimension("loader_workers").largest == 0:
        return LoadersFound(impossible=impossible)
    tried = {
        loader: why_not_in_processes(images.train, per_image=PER_IMAGE[loader])
        for loader in asked
        if loader in PER_IMAGE
    }
    return LoadersFound(impossible=impossible, without_processes={name: why for name, why in tried.items() if why})
