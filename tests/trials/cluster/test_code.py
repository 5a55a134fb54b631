"""The user's code travels; what every node has stays behind."""

import sys
from pathlib import Path

import pytest

import tune_cnn
from tune_cnn.errors import SpecError
from tune_cnn.trials.cluster.code import add_import_folders, carried_modules, code_key, import_folders


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "__init__.py").touch()
    (tmp_path / "alone_net.py").touch()
    (tmp_path / "setup.py").touch()
    (tmp_path / "notes.txt").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_ours_always_travels():
    assert str(Path(tune_cnn.__file__).parent) in carried_modules([], [])


def test_a_calls_package_and_module_are_found_on_the_path(project):
    carried = carried_modules([], ["nets.small:make", "alone_net:make"])
    assert {str(project / "nets"), str(project / "alone_net.py")} <= set(carried)


def test_installed_and_builtin_packages_stay_behind():
    assert carried_modules([], ["numpy:array", "json:loads", "sys:exit"]) == carried_modules([], [])


def test_a_folder_of_code_gives_its_packages_and_modules(project):
    carried = carried_modules([str(project)], [])
    assert {str(project / "nets"), str(project / "alone_net.py")} == set(carried) - set(carried_modules([], []))


def test_a_package_or_module_may_be_named_itself(project):
    for path in (project / "nets", project / "alone_net.py"):
        assert str(path) in carried_modules([str(path)], [])


def test_what_is_named_twice_travels_once(project):
    carried = carried_modules([str(project), str(project / "nets")], ["nets:make"])
    assert carried.count(str(project / "nets")) == 1


def test_a_folder_that_is_not_there_is_the_specs_fault(tmp_path):
    with pytest.raises(SpecError, match=r"resources.code: .*/missing does not exist"):
        carried_modules([str(tmp_path / "missing")], [])


def test_a_folder_without_code_is_the_specs_fault(tmp_path):
    with pytest.raises(SpecError, match="holds no Python package and no module"):
        carried_modules([str(tmp_path)], [])


def test_a_call_that_is_nowhere_is_left_to_who_imports_it(project):
    """Its error names the key and the nearest names; here it is only not carried."""
    assert carried_modules([], ["nowhere_at_all:make"]) == carried_modules([], [])


def test_the_key_of_the_code_tells_an_edit_of_any_of_its_files(project):
    """The module that is called, one beside it in its package, and one of a folder of code."""
    files = [project / "nets" / "small.py", project / "nets" / "blocks.py", project / "alone_net.py"]
    for file in files:
        file.write_text("WIDTH = 1\n")
    (project / "nets" / ".#small.py").symlink_to("nowhere")  # an editor's lock
    asked = ([str(project / "alone_net.py")], ["nets.small:make"])
    keys = [code_key(*asked)]
    for file in files:
        file.write_text("WIDTH = 2\n")
        keys.append(code_key(*asked))
    assert len(set(keys)) == 4 and code_key(*asked) == keys[-1]
    (project / "notes.txt").write_text("not code")
    assert code_key(*asked) == keys[-1]


def test_installed_code_has_a_key_and_what_is_not_there_has_none(project):
    """A folder that only a cluster has can say nothing here."""
    assert code_key([], ["yaml:load"]) != code_key([], [])
    assert code_key([str(project / "missing")], ["sys:exit", "nowhere_at_all:make"]) == code_key([], [])


def test_workers_are_told_of_the_users_folders_and_not_of_pythons(project):
    folders = import_folders()
    assert str(project) in folders
    assert not any(Path(folder).is_relative_to(sys.prefix) for folder in folders)
    assert not any(Path(folder).is_relative_to(sys.base_prefix) for folder in folders)


def test_the_working_directory_is_told_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    assert str(tmp_path) in import_folders()


def test_a_worker_looks_last_into_the_drivers_folders(tmp_path, monkeypatch):
    """What Ray carried to its node comes first; folders of another machine are left out."""
    monkeypatch.setattr(sys, "path", ["/carried"])
    add_import_folders(["/carried", str(tmp_path), "/not/on/this/node"])
    assert sys.path == ["/carried", str(tmp_path)]
