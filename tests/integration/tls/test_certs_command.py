"""`mainstay certs dev`: what it writes, what it keeps, and that it is of use."""

import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner, Result

from cli.main import app
from mainstay.channel import Channel
from mainstay.credentials import Credentials, Tls
from tests.integration.tls.witness import witness


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return where certificates are to be."""
    return tmp_path / "certs"


def certs(out: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["certs", "dev", "--out", str(out), *arguments])


def names_of(certificate: Path) -> list[str]:
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(each.value) for each in names]


class TestWhatItWrites:
    async def test_is_what_a_service_and_its_clients_need(self, out: Path) -> None:
        """With certificates of both ends, and nothing else."""
        certs(out)
        tls = Tls(ca=out / "ca.pem", certificate=out / "client.pem", key=out / "client.key")
        async with (
            witness(
                tls_certificate=out / "server.pem",
                tls_key=out / "server.key",
                tls_client_ca=out / "ca.pem",
            ) as server,
            Channel(server.address, credentials=Credentials(tls=tls)) as channel,
        ):
            await server.call(channel)

        assert ["client.mainstay.dev"] == server.names

    def test_names_this_machine_and_the_hosts_that_are_given(self, out: Path) -> None:
        """Names and addresses, each once."""
        certs(out, "--host", "cache.internal", "--host", "10.0.0.7", "--host", "localhost")
        local = ["localhost", "127.0.0.1", "::1"]

        assert [*local, "cache.internal", "10.0.0.7"] == names_of(out / "server.pem")

    def test_lasts_as_long_as_it_is_told(self, out: Path) -> None:
        """The CA longer, so that it can sign again."""
        certs(out, "--days", "3")
        ca, server = (
            x509.load_pem_x509_certificate((out / name).read_bytes())
            for name in ("ca.pem", "server.pem")
        )

        assert 3 == (server.not_valid_after_utc - server.not_valid_before_utc).days
        assert ca.not_valid_after_utc > server.not_valid_after_utc

    def test_hides_the_keys(self, out: Path) -> None:
        """From everybody but their owner."""
        certs(out)
        modes = {stat.S_IMODE(key.stat().st_mode) for key in out.glob("*.key")}

        assert {0o600} == modes

    def test_says_what_to_export(self, out: Path) -> None:
        """By paths that hold anywhere, and shows no key."""
        said = certs(out).stdout

        assert f"export MAINSTAY_TLS_CERTIFICATE={out}/server.pem" in said
        assert f"export MAINSTAY_TLS_CA={out}/ca.pem" in said
        assert "PRIVATE" not in said


class TestASecondTime:
    def test_the_ca_signs_again(self, out: Path) -> None:
        """What trusts it goes on trusting."""
        certs(out)
        ca, server = ((out / name).read_bytes() for name in ("ca.pem", "server.pem"))
        result = certs(out)

        assert (0, ca) == (result.exit_code, (out / "ca.pem").read_bytes())
        assert server != (out / "server.pem").read_bytes()
        context = ssl.create_default_context(cafile=out / "ca.pem")
        context.load_cert_chain(out / "server.pem", out / "server.key")

    def test_the_ca_is_replaced_by_force_only(self, out: Path) -> None:
        """With it goes all trust in it."""
        certs(out)
        ca = (out / "ca.pem").read_bytes()
        certs(out, "--force")

        assert ca != (out / "ca.pem").read_bytes()

    @pytest.mark.parametrize("missing", ["ca.pem", "ca.key"])
    def test_half_a_ca_is_no_ca(self, out: Path, missing: str) -> None:
        """Nor is it overwritten."""
        certs(out)
        kept = {each.name: each.read_bytes() for each in out.iterdir() if each.name != missing}
        (out / missing).unlink()
        result = certs(out)

        assert (1, True) == (result.exit_code, missing in result.stderr)
        assert kept == {each.name: each.read_bytes() for each in out.iterdir()}

    def test_nobody_elses_files_are_overwritten(self, out: Path) -> None:
        """A directory may hold a real server's."""
        out.mkdir()
        (out / "server.key").write_text("precious")
        result = certs(out)

        assert (1, True) == (result.exit_code, "was not made here" in result.stderr)
        assert ["server.key"] == [each.name for each in out.iterdir()]

    def test_a_host_that_is_none(self, out: Path) -> None:
        """It is refused before anything is written."""
        result = certs(out, "--host", "cache:50051")

        assert (2, False) == (result.exit_code, out.exists())
