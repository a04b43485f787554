"""Data URLs, the way inline media stands in OpenAI bodies."""

_MARK = ";base64,"


def split_data_url(url: str) -> tuple[str, str] | None:
    """Return media type and base64 text of a `data:` URL, None for any other URL."""
    if not url.startswith("data:"):
        return None
    media_type, mark, data = url.removeprefix("data:").partition(_MARK)
    return (media_type, data) if mark else None


def data_url(media_type: str, data: str) -> str:
    return f"data:{media_type}{_MARK}{data}"
