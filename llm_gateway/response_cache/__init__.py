"""Answers that were given before, in two levels: the process' memory, and Redis for all of them."""

from llm_gateway.response_cache.entry import Entry, key_of
from llm_gateway.response_cache.levels import ResponseCache, make_response_cache

__all__ = ["Entry", "ResponseCache", "key_of", "make_response_cache"]
