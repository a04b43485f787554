"""Webhooks leave through the one way out: judged addresses, no redirect, times that are bounded."""

import json

import pytest

from llm_gateway.service.webhooks import post_webhook
from tenants.alerts.messages import signature_headers
from tenants.alerts.sending import Letter, NotDeliveredError
from tests.upstream.client import Upstream


def letter(origin: str, *, private: bool, path: str = "/v1/chat/completions") -> Letter:
    body = json.dumps({"model": "alpha", "messages": []}).encode()
    headers = signature_headers("a-secret-of-a-person-0123", "id-1", 1_763_640_000, body)
    return Letter(
        origin=origin, path=path, headers=headers, body=body, allow_private_network=private
    )


def test_a_webhook_arrives_with_its_signature_and_nothing_of_ours(upstream: Upstream) -> None:
    sent = letter(upstream.base_url, private=True)
    post_webhook(sent)
    (call,) = upstream.seen().calls
    assert call.headers.items() >= dict(sent.headers).items()
    assert not {"authorization", "cookie", "x-api-key"} & call.headers.keys()


@pytest.mark.parametrize(
    ("origin", "why"),
    [
        ("http://127.0.0.1:9", "needs allow_private_network|https"),
        ("https://169.254.169.254", "metadata"),
        ("https://10.0.0.1", "not a public address"),
        ("https://localhost", "this machine"),
    ],
)
def test_inner_addresses_are_not_called(origin: str, why: str) -> None:
    with pytest.raises(NotDeliveredError, match=why):
        post_webhook(letter(origin, private=False))


def test_metadata_is_not_called_even_when_private_networks_are() -> None:
    with pytest.raises(NotDeliveredError, match="metadata"):
        post_webhook(letter("http://169.254.169.254", private=True))


def test_nobody_there_is_a_sentence(unused_tcp_port: int) -> None:
    with pytest.raises(NotDeliveredError):
        post_webhook(letter(f"http://127.0.0.1:{unused_tcp_port}", private=True))
