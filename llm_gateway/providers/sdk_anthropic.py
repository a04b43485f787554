"""List models with Anthropic's own client. Imported on first use only."""

from collections.abc import AsyncGenerator

from anthropic import AsyncAnthropic

from llm_gateway.providers.sdk_transport import NO_KEY, Send, client

_PAGE = 1000


async def listed(base_url: str, send: Send) -> AsyncGenerator[object, None]:
    async with client(base_url, send) as http:
        sdk = AsyncAnthropic(api_key=NO_KEY, base_url=base_url, http_client=http, max_retries=0)
        async for model in sdk.models.list(limit=_PAGE):
            yield model
