"""The outbox is an extra: without it the SDK is whole, and says what is missing."""

import subprocess
import sys

WITHOUT_ASYNCPG = "import sys; sys.modules['asyncpg'] = None\n"


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter where asyncpg is not installed."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_ASYNCPG + program],
        capture_output=True,
        text=True,
        check=False,
    )


class TestWithoutAsyncpg:
    def test_the_error_names_the_extra(self) -> None:
        """Whoever imports the outbox learns what to install."""
        done = run("import mainstay.outbox")

        assert 1 == done.returncode
        assert "pip install 'mainstay[outbox]'" in done.stderr.splitlines()[-1]

    def test_the_rest_of_the_sdk_works(self) -> None:
        """Nothing else of it imports the outbox."""
        done = run("import mainstay, mainstay.jobs, mainstay.middleware")

        assert (0, "") == (done.returncode, done.stderr)
