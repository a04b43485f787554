"""A pair of Amazon's keys signs what is sent, as Amazon's own signer does, and is not sent."""

from datetime import UTC, datetime

import pytest

from llm_gateway.errors import Certainty, CredentialError
from llm_gateway.providers.auth import SIGNED, Credential, auth_headers, signature
from llm_gateway.providers.sigv4 import Signable, key_pair, region_of, signed_headers

SECRET = "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
HOST = "bedrock-runtime.us-east-1.amazonaws.com"
NOW = datetime(2026, 11, 21, 12, 0, 5, tzinfo=UTC)
REQUEST = Signable(
    method="POST",
    host=HOST,
    path="/model/us.amazon.nova-2-lite-v1%3A0/converse-stream",
    body=b'{"messages":[]}',
)
# Made with botocore's SigV4Auth from the same request, keys and time.
VECTORS = {
    SECRET: "2e733c25d4612193173cc035750732c7d61e6edf01929a865ad7e28f78359dc8",
    f"{SECRET}:TOKEN/with+==chars": (
        "358f56ffc99f596c11d2c2d58a111852ce4faeedf51c1c963b29fe323ac5bcd9"
    ),
}


@pytest.mark.parametrize(("secret", "expected"), VECTORS.items(), ids=["lasting", "session"])
def test_a_signature_is_what_amazons_own_signer_makes(secret: str, expected: str) -> None:
    key = key_pair(secret)
    assert key is not None
    headers = signed_headers(REQUEST, key, service="bedrock", region="us-east-1", now=NOW)
    scope = "AKIDEXAMPLE/20261121/us-east-1/bedrock/aws4_request"
    names = "host;x-amz-date" + (";x-amz-security-token" if key.session else "")
    assert headers.pop("authorization") == (
        f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={names}, Signature={expected}"
    )
    token = {"x-amz-security-token": "TOKEN/with+==chars"} if key.session else {}
    assert headers == {"x-amz-date": "20261121T120005Z", **token}


@pytest.mark.parametrize("secret", ["ABSKQmVkcm9ja0FQSUtleS0xMjM=", "plain", "half:", ":half"])
def test_any_other_secret_is_a_bearers(secret: str) -> None:
    assert key_pair(secret) is None
    credential = Credential(1, secret, "https://x:443")
    headers = auth_headers(SIGNED, credential, origin="https://x:443")
    assert headers == (("Authorization", f"Bearer {secret}"),)
    assert signature(REQUEST, credential, region=None, now=NOW) == {}


def test_a_pair_is_never_sent() -> None:
    credential = Credential(1, SECRET, "https://x:443")
    assert auth_headers(SIGNED, credential, origin="https://x:443") == ()
    signed = signature(REQUEST, credential, region=None, now=NOW)
    assert SECRET.partition(":")[2] not in str(signed)


def test_a_pair_goes_to_no_other_origin() -> None:
    with pytest.raises(CredentialError):
        auth_headers(SIGNED, Credential(1, SECRET, "https://x:443"), origin="https://y:443")


def test_without_a_region_nothing_is_signed() -> None:
    credential = Credential(1, SECRET, "https://x:443")
    elsewhere = Signable(method="POST", host="127.0.0.1:8900", path="/", body=b"")
    with pytest.raises(CredentialError, match="region") as raised:
        signature(elsewhere, credential, region=None, now=NOW)
    assert raised.value.certainty is Certainty.NOT_SENT
    assert signature(elsewhere, credential, region="eu-central-1", now=NOW)


@pytest.mark.parametrize(
    ("host", "region"),
    [
        (HOST, "us-east-1"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("vpce-1.bedrock-runtime.eu-central-1.vpce.amazonaws.com", "eu-central-1"),
        ("bedrock-runtime.ap-southeast-2.api.aws", "ap-southeast-2"),
        ("127.0.0.1:8900", None),
        ("bedrock.acme.example", None),
    ],
)
def test_an_address_may_name_the_region(host: str, region: str | None) -> None:
    assert region_of(host) == region
