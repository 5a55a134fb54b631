"""Whether a node has the images of a spec: found and counted, not decoded."""

from tune_cnn.errors import TuneCnnError, first_line
from tune_cnn.spec import DataSpec
from tune_cnn.spec.addresses import address_of
from tune_cnn.training.data.sources.registry import find_source
from tune_cnn.training.data.sources.source import InFewFiles
from tune_cnn.training.data.sources.torchvision_sets import KNOWN


def find_images(data: DataSpec, seed: int) -> str:
    """What is there in words, the same on nodes that have the same; "error: " and why where nothing can be read.

    Nothing is downloaded: a published set that isn't there is said to be fetched by the search, where it may be. Of
    shards by their address the server is asked whether they are there.
    """
    try:
        here = data if address_of(data.name) else data.model_copy(update={"offline": True})
        source = find_source(here, seed)
    except (TuneCnnError, OSError) as error:
        if (data.name in KNOWN or data.name.startswith(("hf:", "torchvision:"))) and not data.offline:
            return "not there yet: the search downloads them"
        return f"error: {first_line(error)}"
    classes = f" of {len(source.classes)} classes" if source.classes else ""
    count = "about" if isinstance(source, InFewFiles) else "up to"
    return f"{source.name}, {count} {source.images:,} images{classes}"
