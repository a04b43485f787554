"""Keep finished calls: behind the answer, in a thread of its own, never in a request's way."""

from llm_gateway.recorder.contents import Contents
from llm_gateway.recorder.lines import log_alarms, log_line
from llm_gateway.recorder.recorder import Recorder

__all__ = ["Contents", "Recorder", "log_alarms", "log_line"]
