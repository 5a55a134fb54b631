"""The `batched` and `stream` loaders: a torch DataLoader over this rank's requests, in this process or in others."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing.reduction import ForkingPickler

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from tune_cnn.errors import DataError, LoaderLost, first_line
from tune_cnn.training.data.image_sets import ImageSet
from tune_cnn.training.data.loaders.batch import Awaited, Batch, Batches, Plan
from tune_cnn.training.data.loaders.processes import LoaderContext, initialise_process, semaphores_named_ours
from tune_cnn.training.data.loaders.workers import BatchOfRows, Images, OneRow, SingleImages, WholeBatches
from tune_cnn.training.data.order import Request, steps_per_epoch
from tune_cnn.training.data.readers import Int64, at_once
from tune_cnn.untyped import Untyped

PREFETCH = 2  # batches ahead, per process: torch's default
DEATH_KNOWN_S = 5.0  # a connection breaks at once, and the fork server tells of a process's end soon after


class _EpochSampler(Sampler[Untyped]):
    """Hands the DataLoader the requests of the epoch that was set last; none before the first."""

    def __init__(self, plan: Plan, convert: Callable[[Plan, Request], Untyped]) -> None:
        self.plan = plan
        self.convert = convert
        self.number: int | None = None
        self.positions_n: Int64 | None = None
        self.first = 0

    def __iter__(self) -> Iterator[Untyped]:
        if self.number is not None:
            for request in self.plan.requests(self.number, self.positions_n, first=self.first):
                yield self.convert(self.plan, request)

    def __len__(self) -> int:
        if self.number is None:
            return 0
        images = len(self.plan.images if self.positions_n is None else self.positions_n)
        return steps_per_epoch(images, self.plan.batch_size, self.plan.ranks) - self.first


def whole_batch(plan: Plan, request: Request) -> BatchOfRows:
    """The request with the rows of the cache, or of the reader where there is no cache."""
    images = plan.images
    rows = images.rows if images.path is None else images.indices
    return BatchOfRows(
        rows_n=rows[request.positions_n],
        labels_n=images.labels_n[request.positions_n],
        augmentation=request.augmentation,
    )


def single_images(plan: Plan, request: Request) -> list[OneRow]:
    """The request image by image."""
    columns = (
        plan.images.rows[request.positions_n],
        plan.images.labels_n[request.positions_n],
        request.augmentation.dy_n,
        request.augmentation.dx_n,
        request.augmentation.flip_n,
    )
    values = [[0] * len(request.positions_n) if column is None else column.tolist() for column in columns]
    values.append([request.augmentation.mirror_fill] * len(request.positions_n))
    if request.augmentation.composed is not None:
        values.append([request.augmentation.composed[at : at + 1] for at in range(len(request.positions_n))])
    return [OneRow(*row) for row in zip(*values, strict=True)]


def as_they_are(images: object) -> Untyped:
    """A whole batch needs no collating."""
    return images


class WorkerLoader:
    """Batches fetched and augmented as uint8 by DataLoader, sent to the device and normalised there."""

    def __init__(self, plan: Plan, *, per_image: bool, workers: int) -> None:
        self.plan = plan
        self.steps = plan.steps
        self.notes = plan.notes
        self.workers = workers
        self._sampler = _EpochSampler(plan, single_images if per_image else whole_batch)
        self._dataset = _dataset(plan.images, per_image=per_image)
        self._per_image = per_image
        self._context: LoaderContext | None = None
        self._loader: DataLoader[Images] | None = None

    def start(self) -> None:
        if self._loader is not None:
            return
        if self.workers:
            if why := _why_it_stays(self._dataset):
                raise DataError(f"data: a loader process {why}")
            self._context = LoaderContext()
        loader = self._make_loader()
        self._loader = loader
        if self.workers:
            try:
                with semaphores_named_ours():
                    iter(loader)  # starts the processes; the sampler is still empty
                iter(loader)  # asks them to begin anew, and waits for every one's answer
            except BaseException as error:
                lost = self._lost(error)
                self.close()
                if lost is not None:
                    raise LoaderLost(lost) from error
                raise

    def _make_loader(self) -> "DataLoader[Images]":
        # Own generator: DataLoader would draw its processes' seed from torch's global one.
        generator = torch.Generator().manual_seed(self.plan.seed)
        common: dict[str, Untyped] = {
            "num_workers": self.workers,
            "pin_memory": self.plan.device.type == "cuda",
            "generator": generator,
        }
        if self.workers:
            common |= {
                "multiprocessing_context": self._context,
                "worker_init_fn": initialise_process,
                "persistent_workers": True,
                "prefetch_factor": PREFETCH,
            }
        if self._per_image:
            return DataLoader(self._dataset, batch_sampler=self._sampler, **common)
        return DataLoader(self._dataset, batch_size=None, sampler=self._sampler, collate_fn=as_they_are, **common)

    def epoch(self, epoch: int, positions_n: Int64 | None = None, *, first: int = 0) -> Batches:
        fetched = Awaited(self._fetched(epoch, positions_n, first))
        return Batches(self._delivered(fetched), fetched)

    def _fetched(self, epoch: int, positions_n: Int64 | None, first: int) -> Iterator[Images]:
        self.start()
        assert self._loader is not None
        self._sampler.number, self._sampler.positions_n, self._sampler.first = epoch, positions_n, first
        ahead = not self.workers and at_once(self.plan.images.reader) > 1
        try:
            yield from _one_ahead(iter(self._loader), self.plan.device) if ahead else self._loader
        except Exception as error:
            lost = self._lost(error)
            if lost is not None:
                raise LoaderLost(lost) from error
            raise

    def _lost(self, error: BaseException) -> str | None:
        """Which loader process is gone, where that is the error, and not what one of them found in the data."""
        if self._context is None:
            return None
        found = str(error).startswith("Caught ")  # as DataLoader says what its process raised
        cut = isinstance(error, EOFError | OSError) and not found  # of the connection that a batch comes by
        return self._context.lost(DEATH_KNOWN_S if cut else 0.0)

    def _delivered(self, fetched: Iterator[Images]) -> Iterator[Batch]:
        device, normalise = self.plan.device, self.plan.normaliser()
        for images_nchw, labels_n in fetched:
            yield Batch(
                normalise(images_nchw.to(device, non_blocking=True)),
                labels_n.to(device, non_blocking=True),
            )

    def resize(self, batch_size: int) -> None:
        """The processes stay: they are told image by image, or row by row, what to fetch."""
        self.plan = self._sampler.plan = replace(self.plan, batch_size=batch_size)
        self.steps, self.notes = self.plan.steps, self.plan.notes

    def close(self) -> None:
        self._loader = None  # its iterator ends its processes when it goes
        if self._context is not None:
            self._context.end()
            self._context = None


def _one_ahead(batches: Iterator[Images], device: torch.device) -> Iterator[Images]:
    """The same, each fetched while the one before it is worked on: for batches that come over a network."""
    here = partial(torch.cuda.set_device, device) if device.type == "cuda" else None  # where it pins: by the thread
    with ThreadPoolExecutor(1, "one batch ahead", here) as thread:
        coming = thread.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, batches, None)
            yield batch


def why_not_in_processes(images: ImageSet, *, per_image: bool) -> str | None:
    """Why no other process can load these images; None where it can. Follows on "a loader process"."""
    return _why_it_stays(_dataset(images, per_image=per_image))


def _dataset(images: ImageSet, *, per_image: bool) -> Dataset[Images]:
    return SingleImages(images.reader) if per_image else WholeBatches(images.path or images.reader)


def _why_it_stays(dataset: Dataset[Images]) -> str | None:
    try:
        ForkingPickler.dumps(dataset)
    except Exception as error:  # the user's own class may raise anything while it is pickled
        return (
            f"needs a data set that can be pickled, but yours can't ({type(error).__name__}: {first_line(error)}); "
            "define its class and functions at a module's top level, or set loader_workers: 0"
        )
    return None
