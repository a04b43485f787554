"""List models with OpenAI's own client. Imported on first use only."""

from collections.abc import AsyncGenerator

from openai import AsyncOpenAI

from llm_gateway.providers.sdk_transport import NO_KEY, Send, client


async def listed(base_url: str, send: Send) -> AsyncGenerator[object, None]:
    async with client(base_url, send) as http:
        sdk = AsyncOpenAI(api_key=NO_KEY, base_url=base_url, http_client=http, max_retries=0)
        async for model in sdk.models.list():
            yield model
