"""Tokens of an issuer that a service trusts: its keys are in a file, as JWKS."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

ISSUER = "https://issuer.example"
AUDIENCE = "mainstay"


class Issuer:
    """Signs tokens with a key of its own; `settings` has a service trust it."""

    def __init__(self, directory: Path, *, key_id: str = "k1") -> None:
        self._key_id = key_id
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.jwks = directory / "jwks.json"
        public = jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        keys = [{**public, "kid": key_id, "alg": "ES256", "use": "sig"}]
        self.jwks.write_text(json.dumps({"keys": keys}))

    @property
    def settings(self) -> dict[str, Any]:
        """Return what a service has to be told."""
        return {
            "auth": "jwt",
            "auth_jwt_issuer": ISSUER,
            "auth_jwt_audience": AUDIENCE,
            "auth_jwt_jwks": str(self.jwks),
        }

    def token(
        self,
        subject: str = "svc-billing",
        *,
        tenant: str = "*",
        scopes: Sequence[str] = ("*",),
        seconds: float = 300,
    ) -> str:
        """Return a token that is good for so long."""
        now = time.time()
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "iat": int(now) - 1,
            "exp": now + seconds,
            "tenant": tenant,
            "scope": " ".join(scopes),
        }
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": self._key_id})

    def header(self, subject: str = "svc-billing", **more: Any) -> tuple[str, str]:
        """Return a token as a call brings it."""
        return "authorization", f"Bearer {self.token(subject, **more)}"
