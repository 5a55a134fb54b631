"""What NVML tells of a node's cards, and which metrics a card can't give; NVML itself is declared."""

import pynvml
import pytest
from fake_nvml import FakeCard, FakeNvml, fail

from tune_cnn.training.meters.cards import Card, Driver, cards, driver, visible
from tune_cnn.training.meters.nvml import lacking


@pytest.fixture
def nvml(monkeypatch):
    def of(*found: FakeCard) -> FakeNvml:
        fake = FakeNvml(list(found))
        fake.install(monkeypatch)
        return fake

    return of


def test_cards_are_as_nvml_has_them_and_nvml_is_ended(nvml):
    fake = nvml(FakeCard(processes={7: 100.0, 8: None}, display=True, mode=pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS))
    (card,) = cards()
    assert card == Card(
        uuid="GPU-a", name="NVIDIA A100-SXM4-40GB", used_mib=3.0, processes_mib={7: 100.0, 8: None},
        shows_display=True, compute_mode="exclusive", power_limit_w=400.0,
    )  # fmt: skip
    assert driver() == Driver(version="580.65.06", cuda="13.0")
    assert fake.opened == 0


def test_what_a_card_does_not_tell_is_absent(nvml, monkeypatch):
    """As of a laptop's, under WSL or on a virtual GPU."""
    nvml(FakeCard(power_w=None, can_be_cut=False))
    for name in ("MemoryInfo", "ComputeRunningProcesses", "GraphicsRunningProcesses", "DisplayActive", "ComputeMode"):
        monkeypatch.setattr(pynvml, f"nvmlDeviceGet{name}", lambda *args, **kwargs: fail())
    assert cards() == (Card(uuid="GPU-a", name="NVIDIA A100-SXM4-40GB"),)


def test_without_a_driver_there_are_no_cards(monkeypatch):
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: fail(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND))
    assert cards() == ()
    assert driver() == Driver()


def test_a_card_that_is_cut_has_its_slices(nvml):
    """Places without a slice are no slices."""
    nvml(FakeCard(slices=[FakeCard("MIG-1", "A100 MIG 3g.20gb"), FakeCard("MIG-2", "A100 MIG 1g.5gb")]))
    (card,) = cards()
    assert card.is_cut and [one.uuid for one in card.slices] == ["MIG-1", "MIG-2"]


@pytest.mark.parametrize(
    ("names", "seen"),
    [
        (None, ["GPU-a", "GPU-b"]),
        ("1", ["GPU-b"]),
        ("1, 0", ["GPU-b", "GPU-a"]),
        ("GPU-b", ["GPU-b"]),
        ("MIG-1", ["MIG-1"]),
        ("", []),
        ("-1", []),
        ("0,9,1", ["GPU-a"]),
        ("GPU-", []),
    ],
)
def test_cuda_visible_devices_names_cards(names, seen):
    """By number or by the beginning of a UUID, up to the first name that fits none or several."""
    found = [Card(uuid="GPU-a", name="A"), Card(uuid="GPU-b", name="B", slices=(Card(uuid="MIG-1", name="slice"),))]
    assert [card.uuid for card in visible(found, names)] == seen


@pytest.mark.parametrize(
    ("card", "lacks"),
    [
        (FakeCard(sm_active_pct=40.0), {}),
        (FakeCard(), {"sm_active_pct": "Hopper"}),
        (FakeCard(sm_active_pct=40.0, energy_j=None), {"gpu_energy_j": "Not Supported"}),
        (FakeCard(util_pct=None, energy_j=None), dict.fromkeys(("gpu_util_pct", "gpu_energy_j"), "Not Supported")
         | {"sm_active_pct": "Hopper"}),
        (FakeCard(slices=[FakeCard("MIG-1")]), dict.fromkeys(("gpu_util_pct", "sm_active_pct", "gpu_energy_j"), "MIG")),
    ],
    ids=["hopper", "ampere", "virtual", "wsl", "cut"],
)  # fmt: skip
def test_what_a_card_cannot_measure_is_named_with_its_reason(nvml, card, lacks):
    fake = nvml(card)
    found = lacking("a")
    assert set(found) == set(lacks)
    assert all(why in found[name] for name, why in lacks.items())
    assert fake.opened == 0


@pytest.mark.parametrize("uuid", ["MIG-1", "GPU-z"])
def test_of_a_slice_or_an_unknown_card_nothing_is_measured(nvml, uuid):
    nvml(FakeCard(sm_active_pct=40.0))
    assert set(lacking(uuid)) == {"gpu_util_pct", "sm_active_pct", "gpu_energy_j"}
