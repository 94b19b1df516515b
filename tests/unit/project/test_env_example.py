"""`.env.example` documents every variable, and no other."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from cli.settings import SuiteSettings
from mainstay.client import DEFAULT_ADDRESSES
from shared.process_settings import PREFIX

EXAMPLE = Path(__file__).resolve().parents[3] / ".env.example"
TEXT = EXAMPLE.read_text(encoding="utf-8")
DOCUMENTED = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", TEXT, re.MULTILINE))
OF_SETTINGS = {PREFIX + name.upper() for name in SuiteSettings.model_fields}
OF_CLIENTS = {
    *(f"{PREFIX}{name.upper()}_ADDRESS" for name in DEFAULT_ADDRESSES),
    f"{PREFIX}API_KEY",
    f"{PREFIX}TLS_CLIENT_CERTIFICATE",
    f"{PREFIX}TLS_CLIENT_KEY",
}
OF_OTHERS = {"OTEL_EXPORTER_OTLP_ENDPOINT", f"{PREFIX}OUTBOX_URL", f"{PREFIX}PG_BIN"}


class TestEnvExample:
    def test_names_every_variable_and_no_other(self) -> None:
        """A new setting must be documented; a removed one must go."""
        assert OF_SETTINGS | OF_CLIENTS | OF_OTHERS == DOCUMENTED

    @pytest.mark.parametrize("name", sorted(OF_SETTINGS))
    def test_shows_the_default(self, name: str) -> None:
        """What is printed behind a variable is what holds without it."""
        field = SuiteSettings.model_fields[name.removeprefix(PREFIX).lower()]
        (shown,) = re.findall(rf"^#?{name}=(.*)$", TEXT, re.MULTILINE)

        if field.default is not None and not isinstance(field.default, BaseModel):
            assert as_variable(field.default) == shown


def as_variable(default: object) -> str:
    """Return a default as somebody would write it into the environment."""
    match default:
        case bool():
            return str(default).lower()
        case frozenset():
            return ",".join(sorted(map(str, default)))
        case dict():
            return ",".join(f"{name}={'+'.join(sorted(each))}" for name, each in default.items())
        case float():
            return f"{default:g}"
        case _:
            return str(default)
