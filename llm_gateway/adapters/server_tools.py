"""Say what tools that a provider runs itself may bring: calls that it bills, and more input.

Their kind is the word their type begins with: `web_search_20250305` is a web search.
"""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

# How often a provider asks the model anew for one answer before it hands back control (Anthropic:
# "pause_turn" after ten), and how many calls are allowed for where the caller names no most.
MOST_ROUNDS = 10
CALLS = 20

# Run by the caller: they bring nothing that the body does not hold.
_CALLERS = (
    *("custom", "function", "bash", "text_editor", "computer", "memory"),
    *("local_shell", "apply_patch"),
)
# Not billed by the call; what they find is input.
_FREE = ("web_fetch", "tool_search", "mcp")
# Another model answers, at its own price.
_OTHER_MODEL = ("advisor", "image_generation")


class ServerTools(Struct, frozen=True, kw_only=True):
    """`calls` that are billed at most, `rounds` in which the input is read, units of the price."""

    calls: int = 0
    rounds: int = 1
    units: frozenset[str] = frozenset()

    @property
    def unsized(self) -> str:
        """Name the field that brings input of which the body says no size."""
        return "tools" if self.rounds > 1 else ""


def server_tools(tools: Iterable[dict[str, Any]]) -> ServerTools:
    """Return what the tools of a request may bring; a kind that is not known here is billed."""
    calls = uses = 0
    units: set[str] = set()
    for tool in tools:
        kind = tool.get("type")
        if kind is None or str(kind).startswith(_CALLERS):
            continue
        most = tool.get("max_uses")
        allowed = most if type(most) is int and most > 0 else CALLS
        uses += allowed
        if str(kind).startswith(_OTHER_MODEL):
            units.add("other_model_token")
        elif not str(kind).startswith(_FREE):
            calls += allowed
            units.add("tool_call")
    rounds = min(MOST_ROUNDS, 1 + uses)
    return ServerTools(calls=calls, rounds=rounds, units=frozenset(units))
