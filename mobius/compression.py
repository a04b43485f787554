"""Send the console's pages and what they load compressed; nothing else that Django answers.

Answers that come bit by bit must not wait for a compressor, and what answers a POST may hold a
secret beside what somebody else chose (BREACH; Django pads each answer at random besides).
"""

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from typing_extensions import override

from mobius.headers import CONSOLE

# Fonts and pictures are compressed already.
_TEXTS = ("text/", "application/json", "application/javascript", "image/svg+xml")


class PageCompression(GZipMiddleware):
    """Middleware around what serves static files and around every view."""

    @override
    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        of_page = request.path.startswith((CONSOLE, settings.STATIC_URL))
        whole = request.method == "GET" and response.status_code == 200  # noqa: PLR2004 - no part of a file
        if not (of_page and whole and response.get("Content-Type", "").startswith(_TEXTS)):
            return response
        return super().process_response(request, response)
