"""An identity provider of our own on loopback: OpenID Connect, honest until told to lie."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from typing_extensions import override

from tests.harness.canary import canary

CLIENT, SECRET = "mobius", canary("oidc-client-secret")
Lie = Callable[[dict[str, Any]], dict[str, Any]]


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Issuer:
    """Who signs in next is `claims`; `lie` changes a token's claims, `sign` how it is signed."""

    port: int = 0
    claims: dict[str, Any] = field(default_factory=dict)
    lie: Lie = dict
    sign: str = "RS256"
    away: bool = False
    asked: list[str] = field(default_factory=list)
    key: rsa.RSAPrivateKey = field(default_factory=_key)
    foreign: rsa.RSAPrivateKey = field(default_factory=_key)
    _begun: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def person(self, email: str, subject: str, *, verified: object = True) -> None:
        """Say who signs in from now on, and be honest again."""
        self.claims = {"email": email, "sub": subject, "email_verified": verified}
        self.lie, self.sign, self.away = dict, "RS256", False

    # --- what is asked of it

    def document(self) -> dict[str, str]:
        places = {"authorization": "authorize", "token": "token", "userinfo": "userinfo"}
        found = {f"{name}_endpoint": f"{self.url}/{path}" for name, path in places.items()}
        return {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **found}

    def keys(self) -> dict[str, Any]:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [public | {"kid": "one", "use": "sig", "alg": "RS256"}]}

    def authorize(self, query: dict[str, str]) -> str:
        """Return where the browser is sent back to."""
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self._begun[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def token(self, form: dict[str, str]) -> tuple[int, dict[str, str]]:
        begun = self._begun.pop(form["code"], None)
        hashed = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(hashed).rstrip(b"=").decode()
        right = (form["client_id"], form["client_secret"]) == (CLIENT, SECRET)
        if begun is None or begun["code_challenge"] != challenge or not right:
            return 400, {"error": "invalid_grant"}
        return 200, {"access_token": "t", "token_type": "Bearer", "id_token": self._signed(begun)}

    def _signed(self, begun: dict[str, str]) -> str:
        now = int(time.time())  # noqa: TID251 - a provider has the time of day
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300}
        claims = self.lie({**claims, "nonce": begun["nonce"], **self.claims})
        match self.sign:
            case "none":
                return jwt.encode(claims, "", algorithm="none", headers={"kid": "one"})
            case "HS256":
                return jwt.encode(claims, SECRET, algorithm="HS256", headers={"kid": "one"})
            case "foreign":
                return jwt.encode(claims, self.foreign, algorithm="RS256", headers={"kid": "one"})
            case "unknown":
                return jwt.encode(claims, self.foreign, algorithm="RS256", headers={"kid": "two"})
            case _:
                return jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": "one"})


@contextmanager
def serving() -> Iterator[Issuer]:
    """Yield a provider that listens on a free port."""
    issuer = Issuer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(issuer))
    issuer.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()


def _handler(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            issuer.asked.append(parts.path)
            if issuer.away:
                self._json(503, {})
            elif parts.path == "/authorize":
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                self.send_response(302)
                self.send_header("Location", issuer.authorize(query))
                self.end_headers()
            elif parts.path == "/userinfo":
                self._json(200, issuer.claims)
            else:
                self._json(200, issuer.keys() if parts.path == "/keys" else issuer.document())

        def do_POST(self) -> None:
            issuer.asked.append(self.path)
            sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(sent).items()}
            self._json(*(issuer.token(form) if not issuer.away else (503, {})))

        def _json(self, status: int, value: object) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, *args: object) -> None:
            """Say nothing: codes are in the addresses."""

    return Handler
