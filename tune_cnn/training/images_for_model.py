"""A study's images as its model is to see them: pretrained weights of timm bring their own size, mean and std."""

from dataclasses import replace
from pathlib import Path

from tune_cnn.spec import DataSpec
from tune_cnn.spec.parts import ModelSpec
from tune_cnn.training.data.image_sets import ImageSets
from tune_cnn.training.data.prepare import prepare
from tune_cnn.training.models.registry import pretrained_images


def prepare_for(
    model: ModelSpec, data: DataSpec, *, split_seed: int, cache_dir: str | Path, all_data: bool = False
) -> ImageSets:
    """`prepare`, in the size of the weights where data.image_size asks for none, with their mean and std."""
    asked = pretrained_images(model.name, model.weights)
    if asked is None:
        return prepare(data, split_seed=split_seed, cache_dir=cache_dir, all_data=all_data)
    if data.image_size is None:
        data = data.model_copy(update={"image_size": max(asked.image_size)})
    images = prepare(data, split_seed=split_seed, cache_dir=cache_dir, all_data=all_data)
    mean, std = asked.of_channels(images.facts.in_channels)
    side = images.facts.image_size[0]
    note = f"images are {side}×{side}, with mean and std of the weights {model.weights} of {model.name}"
    return replace(images, facts=replace(images.facts, mean=mean, std=std, notes=(*images.facts.notes, note)))
