"""The files of torchvision's pretrained weights: found, fetched and checked before anything is built on them."""

from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import hub
from torchvision import models

from tune_cnn.errors import ModelError, first_line, nearest
from tune_cnn.untyped import Untyped


def find_weights(name: str, weights: str) -> Untyped:
    """The member of torchvision's weights enum for this model: "DEFAULT", "IMAGENET1K_V1", …"""
    known = models.get_model_weights(name)
    member = weights.removeprefix(f"{known.__name__}.")
    if member not in known.__members__:
        raise ModelError(f"model {name!r} has no weights {weights!r}{nearest(member, known.__members__)}")
    return known[member]


def fetch_weights(name: str, weights: Untyped) -> Path:
    """The local file of a model's weights, downloaded if it is missing, and seen to hold tensors and nothing else.

    torchvision itself reads the file as a full pickle and prints to stdout while it fetches it; hence here, first.
    """
    file_name = Path(urlparse(weights.url).path).name
    path = Path(hub.get_dir()) / "checkpoints" / file_name
    place = (
        f"Fetch {weights.url} where there is a network and put it at {path} "
        "(or set TORCH_HOME to a folder that has it at hub/checkpoints/)."
    )
    if not path.exists():
        digest = hub.HASH_REGEX.search(file_name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            hub.download_url_to_file(weights.url, str(path), digest.group(1) if digest else None, progress=False)
        except (OSError, HTTPException, RuntimeError) as error:  # RuntimeError: the digest doesn't match
            raise ModelError(
                f"model {name!r}: weights {weights.name} could not be downloaded ({error}). {place}"
            ) from error
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises nearly anything on a file that isn't one of its own
        raise ModelError(
            f"model {name!r}: {path} does not hold weights ({type(error).__name__}: {first_line(error)}). "
            f"Delete it. {place}"
        ) from error
    return path
