"""Turn a provider's answer into a proof of who somebody is; whatever does not fit is refused.

The library checks neither issuer nor audience of a token: all of it is checked here.
"""

import hmac
from typing import Any

import jwt
from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.urls import reverse
from typing_extensions import override

from tenants.signin.issuer import Issuer, RefusedError, issuer
from tenants.signin.people import Proof, proven

# Signed by a key that only the provider has: none, and no secret that we have too.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]
CLOCKS_DIFFER_S = 60
CALLBACK = "sign-in-sso-callback"


class SsoBackend(ModelBackend):
    """Django's back end for who comes back from the provider with a code."""

    @override
    def authenticate(  # type: ignore[override] # Django picks back ends by what they take
        self, request: HttpRequest, *, nonce: str, code_verifier: str
    ) -> User:
        """Return the user. Raises RefusedError, UnknownPersonError or IssuerError."""
        oidc = settings.OIDC
        assert oidc is not None  # noqa: S101 - else this is no back end
        form = {
            "grant_type": "authorization_code",
            "client_id": oidc.client_id,
            "client_secret": oidc.client_secret,
            "code": request.GET["code"],
            "code_verifier": code_verifier,
            "redirect_uri": request.build_absolute_uri(reverse(CALLBACK)),
        }
        provider = issuer()
        given = provider.redeem(form)
        claims = claims_of(provider, str(given.get("id_token")), oidc.client_id, nonce)
        if "email" not in claims:
            claims = _with_userinfo(claims, provider.about(str(given.get("access_token"))))
        return proven(_proof(provider.url, claims))


def claims_of(provider: Issuer, token: str, client_id: str, nonce: str) -> dict[str, Any]:
    """Return what a token says, once its signature and every address on it is right.

    Raises RefusedError; IssuerError when the provider's keys cannot be read.
    """
    try:
        key = provider.key(jwt.get_unverified_header(token).get("kid"))
        if key is None:
            raise RefusedError("The token is signed by no key of the provider.")
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=ALGORITHMS,
            audience=client_id,
            issuer=provider.url,
            leeway=CLOCKS_DIFFER_S,
            options={"require": ["aud", "exp", "iat", "iss", "sub"]},
        )
    except jwt.PyJWTError as error:
        raise RefusedError(f"The token is refused: {type(error).__name__}.") from None
    if not hmac.compare_digest(str(claims.get("nonce")).encode(), nonce.encode()):
        raise RefusedError("The token is of another sign-in.")
    if (
        isinstance(claims["aud"], list)
        and len(claims["aud"]) > 1
        and claims.get("azp") != client_id
    ):
        raise RefusedError("The token was made for somebody else.")
    return claims


def _with_userinfo(claims: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    if told.get("sub") != claims["sub"]:
        raise RefusedError("The provider tells of somebody else.")
    return claims | {name: told.get(name) for name in ("email", "email_verified")}


def _proof(issuer_url: str, claims: dict[str, Any]) -> Proof:
    email = claims.get("email")
    if not isinstance(email, str) or "@" not in email or claims.get("email_verified") is not True:
        raise RefusedError("The provider has not verified an e-mail address.")
    return Proof(issuer_url, claims["sub"], email)
