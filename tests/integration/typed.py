"""Read a page's form as a browser would send it, and type something else into one field."""

from collections.abc import Iterator
from html.parser import HTMLParser

from typing_extensions import override

Sent = dict[str, list[str]]
_NOT_SENT = {"submit", "button", "file", "password", "search"}
_TICKED = {"checkbox", "radio"}


class Form(HTMLParser):
    """The form that changes a row: `sent` is what saving sends, by name."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.sent: Sent = {}
        self.kinds: dict[str, str] = {}
        self.offered: dict[str, list[str]] = {}
        self._inside = False
        self._open = ""
        self._text: list[str] | None = None
        self.feed(page)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self._inside = (given.get("id") or "").endswith("_form")
        name = given.get("name") or ""
        if not self._inside or "__prefix__" in name:
            return
        if tag == "input" and name and "disabled" not in given:
            self._input(name, given)
        elif tag in {"select", "textarea"} and name and "disabled" not in given:
            self._open, self.kinds[name] = name, tag
            self._text = [] if tag == "textarea" else None
        elif tag == "option" and self._open:
            self._option(given)

    @override
    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False
        if tag == "textarea" and self._text is not None:
            text = "".join(self._text).removeprefix("\r\n").removeprefix("\n")
            self.sent[self._open] = [text]
        if tag in {"textarea", "select"}:
            self._open, self._text = "", None

    def _input(self, name: str, given: dict[str, str | None]) -> None:
        kind = given.get("type") or "text"
        if kind in _NOT_SENT:
            return
        self.kinds[name] = kind
        value = given.get("value")
        if kind in _TICKED:
            self.offered.setdefault(name, []).append(value or "on")
            if "checked" in given:
                self.sent.setdefault(name, []).append(value or "on")
        else:
            self.sent[name] = [value or ""]

    def _option(self, given: dict[str, str | None]) -> None:
        value = given.get("value") or ""
        self.offered.setdefault(self._open, []).append(value)
        if "selected" in given:
            self.sent.setdefault(self._open, []).append(value)


def otherwise(form: Form) -> Iterator[tuple[str, Sent]]:
    """Yield each field that a person may change, with all that is sent once it is changed."""
    for name, kind in form.kinds.items():
        if kind == "hidden" or name.endswith("-DELETE"):
            continue
        value = _other(form, name, kind)
        if value is not None:
            yield name, {**form.sent, name: value}


def _other(form: Form, name: str, kind: str) -> list[str] | None:
    now = form.sent.get(name, [])
    if kind in _TICKED or kind == "select":
        others = [one for one in form.offered.get(name, []) if one not in now and one]
        if kind == "select":
            return others[:1] or None
        return [*now, others[0]] if others else now[1:]
    if kind == "number":
        return [str(int(float(now[0] or 0)) + 1)]
    return [f"{now[0]}1" if now and now[0] else "1"]
