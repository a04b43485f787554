"""Write the response object, and number the events of a stream."""

from typing import Any

import msgspec

from llm_gateway.adapters import sse
from llm_gateway.types import Call

Wire = dict[str, Any]
# What of a request stands in its answer again, and what stands there where it was not given.
_ECHOED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "service_tier": None,
    "temperature": 1.0,
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
}
_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


def render_event(event: Wire, number: int) -> bytes:
    """Return one event as it stands in a stream."""
    return sse.event(event["type"], msgspec.json.encode({**event, "sequence_number": number}))


class Head:
    """Who answers whom: what every event with the response in it begins with."""

    __slots__ = ("_body", "_created", "_model", "suffix")

    def __init__(self, call: Call, model: str, request_id: str, created: int) -> None:
        self._body, self._model, self._created = call.body, model, created
        self.suffix = request_id

    def start(self, created: int | None) -> None:
        self._created = created or self._created

    def running(self) -> Wire:
        return self._response("in_progress", [], None, None)

    def ended(self, output: list[Wire], usage: Wire, reason: str) -> Wire:
        """Return the whole response; `reason` is why it ended, in the hub's words."""
        why = _REASONS.get(reason)
        return self._response("incomplete" if why else "completed", output, usage, why)

    def _response(
        self, status: str, output: list[Wire], usage: Wire | None, why: str | None
    ) -> Wire:
        given = self._body.get
        text, reasoning = given("text") or {}, given("reasoning") or {}
        known = {"user": given("user"), "usage": usage}
        echoed = {
            name: default if given(name) is None else given(name)
            for name, default in _ECHOED.items()
        }
        return {
            "id": f"resp_{self.suffix}",
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None if why is None else {"reason": why},
            "model": self._model,
            "output": output,
            "previous_response_id": None,
            "reasoning": {
                "effort": reasoning.get("effort"),
                "summary": reasoning.get("summary"),
            },
            "store": False,  # nobody keeps an answer of another protocol
            "text": {**text, "format": text.get("format") or {"type": "text"}},
            "tools": [_tool(tool) for tool in given("tools") or ()],
            **echoed,
            **{name: value for name, value in known.items() if value is not None},
        }


def incomplete(running: Wire, output: list[Wire], usage: Wire, model: str) -> Wire:
    """Return a provider's own running response as one that reached its limit of tokens."""
    return {
        **running,
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "model": model,
        "output": output,
        "usage": usage,
    }


def _tool(tool: Wire) -> Wire:
    if tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": None, **tool}
