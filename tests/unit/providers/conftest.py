"""One egress client a test, closed at its end."""

from collections.abc import AsyncIterator

import pytest

from llm_gateway.providers.egress import Egress


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    client = Egress(version="0.0-test")
    yield client
    await client.close()
