"""Placeholder until the WebSocket door lands (overwrite this file)."""

from channels.generic.websocket import AsyncWebsocketConsumer


class GatewayConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    async def connect(self) -> None:
        await self.close(4401)
