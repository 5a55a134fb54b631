"""A set that is kept as JPEGs, decoded where the model is: on the CPU here, by the code that asks nvJPEG on a GPU."""

from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import photograph, plan_of, prepared, write_photographs

from tune_cnn.errors import DataError
from tune_cnn.training.data.image_sets import ImageSets
from tune_cnn.training.data.loaders.decoding import DecodingLoader
from tune_cnn.training.data.loaders.registry import make_loader
from tune_cnn.training.data.sources.packed import on_device
from tune_cnn.training.data.sources.packed.file import PACK, PackReader
from tune_cnn.training.data.sources.packed.on_device import DecoderOnDevice
from tune_cnn.training.data.sources.packed.packing import TOLERANCE, How
from tune_cnn.training.inspection.loaders import why_not_on_device

CPU = torch.device("cpu")
SIDE = 96  # photographs of 150 × 200 are decoded whole for it: a half of them would be less


def packed_sets(tmp_path: Path) -> ImageSets:
    """Thirteen JPEGs, one of them grey, and four PNGs, which are kept as pixels; of both some are trained on."""
    root = write_photographs(tmp_path / "root")
    photograph().convert("L").resize((150, 120)).save(root / "train/temple/grey.jpg")
    for number in range(4):
        photograph().crop((9 * number, 0, 9 * number + 200, 150)).save(root / f"train/flower/other{number}.png")
    sets = prepared(tmp_path, "image_folder", image_size=SIDE, cache="jpeg")
    hows = {reader_of(sets).content(row)[1] is How.PIXELS for row in sets.train.indices.tolist()}
    assert hows == {False, True}
    return sets


def reader_of(sets: ImageSets) -> PackReader:
    assert isinstance(sets.train.reader, PackReader)
    return sets.train.reader


def test_the_device_delivers_what_the_other_loaders_do(tmp_path: Path) -> None:
    """The same images in the same batches, shifted and mirrored alike, to the rounding of two decoders."""
    sets = packed_sets(tmp_path)
    device, batched = (make_loader(plan_of(sets), kind=kind, workers=0) for kind in ("device", "batched"))
    assert isinstance(device, DecodingLoader) and device.steps == batched.steps
    std = torch.tensor(sets.facts.std)[:, None, None]
    for ours, theirs in zip(device.epoch(1), batched.epoch(1), strict=True):
        assert torch.equal(ours.labels_n, theirs.labels_n)
        levels = 255 * std * (ours.images_nchw - theirs.images_nchw)
        assert levels.abs().mean(dim=(1, 2, 3)).max() <= TOLERANCE
    device.resize(7)
    assert len(next(device.epoch(2)).labels_n) == 7
    waiting = device.epoch(2)
    list(waiting)
    assert waiting.waited_s > 0, "decoding is counted as waiting for data"


def test_a_row_that_is_asked_for_twice_comes_twice(tmp_path: Path) -> None:
    """As the images do that fill up the last batch of several ranks."""
    decoder = DecoderOnDevice(reader_of(packed_sets(tmp_path)), CPU)
    images_nchw = decoder.images(np.array([3, 1, 3]))
    assert images_nchw.shape == (3, 3, SIDE, SIDE) and images_nchw.dtype == torch.uint8
    assert torch.equal(images_nchw[0], images_nchw[2]) and not torch.equal(images_nchw[0], images_nchw[1])


def test_what_the_device_refuses_is_decoded_by_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses a whole batch for one image of it, and says not which. That one isn't asked for again."""
    reader = reader_of(packed_sets(tmp_path))
    jpegs = [row for row in range(8) if reader.content(row)[1] is not How.PIXELS]
    odd = reader.content(jpegs[2])[0].tobytes()
    really, asked = on_device.decode_jpegs, []

    def refuses_one(contents: list[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
        asked.append(len(contents))
        if any(content.numpy().tobytes() == odd for content in contents):
            raise RuntimeError("nvjpegDecode failed: 8")
        return really(contents, device)

    monkeypatch.setattr(on_device, "decode_jpegs", refuses_one)
    decoder, rows_n = DecoderOnDevice(reader, CPU), np.array(jpegs)
    for expected in ([len(jpegs)] + [1] * len(jpegs), [len(jpegs) - 1]):
        asked.clear()
        images_nchw = decoder.images(rows_n)
        assert asked == expected
        for row, image_chw in zip(jpegs, images_nchw, strict=True):
            assert np.abs(image_chw.numpy().astype(int) - reader.image(row)).mean() <= TOLERANCE
    assert decoder.why_not(rows_n) is None and "nvjpegDecode failed: 8" in str(decoder.why_not(rows_n[2:]))


def test_the_inspection_tries_the_first_jpeg_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept as pixels says nothing of the device's decoder."""
    sets = packed_sets(tmp_path)
    reader = reader_of(sets)
    rows = sets.train.indices.tolist()
    pixels = [row for row in rows if reader.content(row)[1] is How.PIXELS]
    jpeg = next(row for row in rows if row not in pixels)
    asked: list[bytes] = []

    def refuses(contents: list[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
        asked.extend(content.numpy().tobytes() for content in contents)
        raise RuntimeError("no nvJPEG here")

    monkeypatch.setattr(on_device, "decode_jpegs", refuses)
    decoder = DecoderOnDevice(reader, CPU)
    assert decoder.why_not(np.array([*pixels, jpeg, *rows])) == "no nvJPEG here"
    assert asked == [reader.content(jpeg)[0].tobytes()]
    assert decoder.why_not(np.array(pixels, np.int64)) is None


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    """The device refuses it, then so does the CPU, which says where it lies."""
    reader = reader_of(packed_sets(tmp_path))
    row = next(row for row in range(8) if reader.content(row)[1] is not How.PIXELS)
    start = int(np.load(reader.folder / "index.npy")[row, 0])
    with (reader.folder / PACK).open("r+b") as file:
        file.seek(start)
        file.write(bytes(200))
    with pytest.raises(DataError, match=rf"image {row} of .* can't be decoded"):
        DecoderOnDevice(reader, CPU).images(np.array([row]))


def test_without_a_gpu_the_loader_device_needs_pixels(tmp_path: Path) -> None:
    """The CPU would decode each image in the training's own process; batched and stream do that in others."""
    why = str(why_not_on_device(packed_sets(tmp_path).train, CPU))
    assert "kept as JPEGs (data.cache)" in why and "no GPU" in why
