"""Both distributions build; the SDK stands alone."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
NEEDED_BY_THE_SDK = ("grpcio", "protobuf", "typing-extensions")


def build_wheel(project: Path, target: Path) -> Path:
    """Build a wheel without isolation: everything it takes is in the environment."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, project],
        check=True,
        capture_output=True,
    )
    (wheel,) = target.glob("*.whl")
    return wheel


def locked(names: tuple[str, ...]) -> str:
    """Return the locked requirements of some packages, with their hashes."""
    text = (REPOSITORY / "requirements/runtime.txt").read_text()
    blocks = re.split(r"\n(?=[a-z])", text)
    return "\n".join(block for block in blocks if block.split("==")[0] in names)


@pytest.fixture
def sdk_wheel(tmp_path: Path) -> Path:
    return build_wheel(REPOSITORY / "sdk", tmp_path / "sdk")


class TestSuiteWheel:
    def test_holds_code_and_data_and_nothing_else(self, tmp_path: Path) -> None:
        """Scripts, queries and migrations travel with the code that reads them; tests do not."""
        wheel = build_wheel(REPOSITORY, tmp_path / "suite")

        names = zipfile.ZipFile(wheel).namelist()

        tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
        assert {"shared", "services", "cli"} == tops
        for data in ("lua/sliding_window.lua", "sql/events.sql", "sql/migrations/0001_jobs.sql"):
            assert any(name.endswith(data) for name in names), data


class TestSdkWheel:
    def test_holds_stubs_and_type_information(self, sdk_wheel: Path) -> None:
        """Users get typed stubs, and the outbox its SQL."""
        names = set(zipfile.ZipFile(sdk_wheel).namelist())

        assert {
            "mainstay/py.typed",
            "mainstay/cache/v1/cache_service_pb2.py",
            "mainstay/cache/v1/cache_service_pb2_grpc.pyi",
            "mainstay/outbox/sql/queries.sql",
            "mainstay/outbox/sql/steps/0001_outbox.sql",
        } <= names

    @pytest.mark.timeout(180)
    def test_works_with_grpcio_and_protobuf_alone(self, sdk_wheel: Path, tmp_path: Path) -> None:
        """An empty environment needs nothing else, and says so itself (`pip check`)."""
        environment = tmp_path / "empty"
        requirements = tmp_path / "requirements.txt"
        requirements.write_text(locked(NEEDED_BY_THE_SDK))
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        python = environment / "bin/python"
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--require-hashes", "-r", requirements], check=True)
        subprocess.run([*pip, "install", "--no-deps", sdk_wheel], check=True)

        subprocess.run([*pip, "check"], check=True)
        done = subprocess.run(
            [python, "-c", "import mainstay; print(*mainstay.__all__)"],
            check=True,
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )

        public = "Credentials Mainstay MainstayError RequestContext Tls Worker request"
        assert public == done.stdout.strip()
