"""Read the parts of a message, or of a tool's output, into the hub's words."""

from collections.abc import Callable
from typing import Any

from llm_gateway.adapters.fields import Fields, wrong
from llm_gateway.adapters.media import split_data_url
from llm_gateway.types import CacheMark, DocumentPart, ImagePart, Part, RefusalPart, TextPart


def read_parts(item: Fields, name: str, extras: dict[str, Any]) -> list[Part]:
    """Return the parts of a content field: one text, or a list; what has none goes to `extras`."""
    content = item.take(name)
    if isinstance(content, str):
        return [TextPart(text=content)]
    if content is not None and not isinstance(content, list):
        raise wrong(item.at(name), "a string or a list of parts")
    parts = []
    for index, value in enumerate(content or ()):
        field = Fields(value, f"{item.at(name)}[{index}]")
        kind = field.required("type")
        read = _READERS.get(kind)
        part = read(field) if read else None
        if part is None:
            extras[field.at(kind)] = value
        else:
            field.close(extras)
            parts.append(part)
    return parts


def _cache(field: Fields) -> CacheMark | None:
    return CacheMark() if field.mapping("prompt_cache_breakpoint") else None


def _text(field: Fields) -> Part:
    field.take("annotations")
    field.take("logprobs")
    return TextPart(text=field.required("text"), cache=_cache(field))


def _refusal(field: Fields) -> Part:
    return RefusalPart(text=field.required("refusal"))


def _image(field: Fields) -> Part | None:
    """Return an image by URL or inline; one by id lives at one provider and stays an extra."""
    url, detail = field.text("image_url"), field.text("detail")
    if url is None:
        return None
    media_type, data = split_data_url(url) or (None, None)
    return ImagePart(
        url=url if data is None else None,
        media_type=media_type,
        data=data,
        detail=None if detail == "auto" else detail,
        cache=_cache(field),
    )


def _file(field: Fields) -> Part | None:
    """Return a document by URL or inline; one by id lives at one provider and stays an extra."""
    url, inline = field.text("file_url"), field.text("file_data")
    if url is None and inline is None:
        return None
    split = split_data_url(inline or "")
    if inline is not None and split is None:
        raise wrong(field.at("file_data"), "a base64 data URL")
    media_type, data = split or (None, None)
    field.drop("detail", "auto")
    return DocumentPart(
        url=url, media_type=media_type, data=data, name=field.text("filename"), cache=_cache(field)
    )


_READERS: dict[str, Callable[[Fields], Part | None]] = {
    "input_text": _text,
    "output_text": _text,
    "text": _text,
    "refusal": _refusal,
    "input_image": _image,
    "input_file": _file,
}
