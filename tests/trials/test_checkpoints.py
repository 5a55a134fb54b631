"""The driver drops the checkpoints of trials that have ended."""

import logging

import pytest

from tune_cnn.trials.checkpoints import folder_of, forget, remove


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_one_trials_checkpoints_go_and_the_others_stay(tmp_path, scheme):
    for trial in (3, 4):
        folder = tmp_path / f"{trial:06d}"
        folder.mkdir()
        (folder / "epoch-1.safetensors").write_text("weights")
    forget(f"{scheme}{tmp_path}", 3)
    assert [child.name for child in tmp_path.iterdir()] == ["000004"]


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_what_is_not_there_is_no_fault(tmp_path, caplog, scheme):
    with caplog.at_level(logging.WARNING):
        remove(f"{scheme}{tmp_path}/nothing")
    assert not caplog.records


def test_a_storage_that_refuses_costs_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        remove("nosuchstorage://bucket/folder")
    assert "nosuchstorage://bucket/folder could not be removed" in caplog.text


def test_each_trial_has_a_folder_of_its_own():
    assert folder_of("s3://bucket/study", 12) == "s3://bucket/study/000012"
