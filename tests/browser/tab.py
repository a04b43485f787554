"""A page of the browser that notes all that a person's own browser would only tell its log."""

from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Page, Request, Response

# What a page asked for when it was left: nothing failed.
_LEFT = "net::ERR_ABORTED"
_OURS = ("http", "https", "ws", "wss")


class Tab:
    """One page of one gateway; `troubles` are sentences, and none is right."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.troubles: list[str] = []
        self._host = urlsplit(url).netloc
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.troubles.append(f"script: {error}"))
        page.on("request", self._asked)
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)

    def open(self, path: str) -> int:
        """Go to a page of the gateway and return its status."""
        answer = self.page.goto(f"{self.url}{path}")
        assert answer is not None, path
        return answer.status

    def _said(self, message: ConsoleMessage) -> None:
        # What could not be loaded is told by its answer, with its address.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.troubles.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        place = urlsplit(request.url)
        if place.scheme in _OURS and place.netloc != self._host:
            self.troubles.append(f"elsewhere: {request.url}")

    def _failed(self, request: Request) -> None:
        if request.failure != _LEFT:
            self.troubles.append(f"failed: {request.url} {request.failure}")

    def _answered(self, response: Response) -> None:
        if not response.ok and response.status >= 400:
            self.troubles.append(f"{response.status}: {response.url}")
