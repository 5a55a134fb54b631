"""What is installed from the wheel: every file that the code reads, and nothing that only the repository needs."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from missing import missing

ROOT = Path(__file__).parents[1]
PACKAGES = ("tune_cnn", "search_spaces", "mlflow_server")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a wheel that is built here; the builder was fetched when the environment was made."""
    uv = shutil.which("uv") or missing("uv is not on the path")
    place = tmp_path_factory.mktemp("wheel")
    command = [uv, "build", "--wheel", "--offline", "--quiet", "-o", str(place), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode and "offline" in built.stderr + built.stdout:
        missing(f"the wheel's builder is not in uv's cache: {built.stderr}")
    assert built.returncode == 0, built.stderr
    (file,) = place.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_a_wheel_holds_every_file_of_the_packages(wheel: set[str]) -> None:
    """Recipes, the report's style, the server's compose file and unit among them; no tests, no pages and their
    pictures: their links lead about in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *PACKAGES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    tracked = {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    assert wheel == {name for name in tracked if not name.endswith((".md", ".png"))}
    assert {"mlflow_server/compose.yaml", "mlflow_server/mlflow-server.service", "mlflow_server/Dockerfile"} <= wheel
    assert {"search_spaces/quickstart.yaml", "tune_cnn/reports/html/report.css", "tune_cnn/py.typed"} <= wheel
