"""One egress client a test, closed at its end."""

from collections.abc import AsyncIterator

import pytest

from llm_gateway.providers.egress import Egress
from tests.unit.providers.wire import make_egress


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    client = make_egress()
    yield client
    await client.close()
