"""Keep responses and conversations as their provider does: each for the key that made it."""

import re
from typing import Any

from tests.upstream.wire import Json

_PATH = re.compile(r"/v1/(responses|conversations)(?:/([^/]+))?(?:/([a-z_]+))?(?:/([^/]+))?$")
_MISSING = {"error": {"message": "Not found.", "type": "invalid_request_error"}}


class Keeping:
    """What is kept, by id: who may see it, the object, and what went in."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, Json, list[Any]]] = {}

    def asks(self, method: str, path: str) -> bool:
        """Say whether a request is about what is kept, and not one for an answer."""
        found = _PATH.search(path)
        return bool(found) and not (method == "POST" and path.endswith("/v1/responses"))

    def keep(self, key: str, kept: Json, went_in: list[Any]) -> None:
        self._kept[kept["id"]] = (key, kept, went_in)

    def missing(self, key: str, body: Json) -> str | None:
        """Return what a request goes on from and this key cannot."""
        asked = [body.get("previous_response_id"), body.get("conversation")]
        found = [one.get("id") if isinstance(one, dict) else one for one in asked]
        return next((one for one in found if one and self._held(key, one) is None), None)

    def answer(self, key: str, method: str, path: str, body: Json) -> tuple[int, Json]:
        found = _PATH.search(path)
        assert found is not None, "asked before"
        kind, name, part, item = found.groups()
        if name is None:
            made = {"id": f"conv_up{len(self._kept) + 1}", "object": "conversation"}
            self.keep(key, made, list(body.get("items") or []))
            return 200, made
        held = self._held(key, name)
        return (
            (404, _MISSING)
            if held is None
            else (200, self._told(method, kind, held, (part, item), body))
        )

    def _told(
        self,
        method: str,
        kind: str,
        held: tuple[Json, list[Any]],
        inside: tuple[str | None, str | None],
        body: Json,
    ) -> Json:
        kept, went_in = held
        part, item = inside
        if part == "cancel":
            return {**kept, "status": "cancelled"}
        if part is not None:
            went_in += body.get("items") or []
            return {"object": "list", "data": went_in if item is None else [item]}
        if method == "DELETE":
            del self._kept[kept["id"]]
            return {"id": kept["id"], "object": f"{kind[:-1]}.deleted", "deleted": True}
        return kept

    def _held(self, key: str, name: str) -> tuple[Json, list[Any]] | None:
        held = self._kept.get(name)
        return held[1:] if held is not None and held[0] == key else None
