"""A batch in parts that memory holds, one after another: their gradients add up to the whole one's."""

from tune_cnn.training.data.loaders.batch import Batch


def micro_batches(batch: Batch, count: int, *, least: int) -> list[Batch]:
    """The batch in so many parts of equal size, but for one image; fewer where a part would have less than `least`.

    A step weighs each part by its share of the images, so it is the whole batch's to rounding. Batch normalisation
    alone sees the parts: each is normalised by its own statistics, and the running ones follow every part.
    """
    images = len(batch.labels_n)
    parts = max(1, min(count, images // least))
    return [
        Batch(images_nchw, labels_n)
        for images_nchw, labels_n in zip(
            batch.images_nchw.tensor_split(parts), batch.labels_n.tensor_split(parts), strict=True
        )
    ]
