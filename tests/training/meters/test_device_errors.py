"""A device's own faults are told from those that a program brings about; NVML is a fake, as no card here breaks."""

import pytest
from fake_nvml import FakeCard, FakeNvml

from tune_cnn.errors import HARDWARE
from tune_cnn.training.meters.device_errors import DeviceErrors


def watched(monkeypatch: pytest.MonkeyPatch, **card: object) -> tuple[DeviceErrors, FakeCard]:
    fake = FakeCard(**card)  # type: ignore[arg-type]  # each its own
    FakeNvml([fake]).install(monkeypatch)
    errors = DeviceErrors.watched("a")
    assert errors is not None
    return errors, fake


def test_an_xid_of_the_hardware_is_its_fault(monkeypatch):
    errors, card = watched(monkeypatch)
    card.xids = [79, 79]
    assert errors.in_words() == f"{HARDWARE} Xid 79"
    assert errors.in_words() is None, "told once"


def test_what_a_kernel_brings_about_is_not(monkeypatch):
    errors, card = watched(monkeypatch)
    card.xids = [31]
    assert errors.in_words() == "the driver tells of Xid 31"


def test_memory_that_lost_bits_since_is_its_fault(monkeypatch):
    errors, card = watched(monkeypatch, lost_bits=3)
    assert errors.in_words() is None, "before this process"
    card.lost_bits = 5
    assert errors.in_words() == f"{HARDWARE} 2 uncorrected ECC errors"


def test_a_device_that_counts_and_tells_nothing(monkeypatch):
    errors, _ = watched(monkeypatch, xids=None, lost_bits=None)
    assert errors.in_words() is None


def test_a_device_that_nvml_does_not_know(monkeypatch):
    FakeNvml([]).install(monkeypatch)
    assert DeviceErrors.watched("a") is None
