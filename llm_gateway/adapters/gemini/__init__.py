"""The protocol of Gemini's generateContent, streamGenerateContent and countTokens, both directions.

How its words cross to others stands in `request` (read) and `outgoing` (written).
"""

from llm_gateway.adapters.gemini.answer import read_answer, reader
from llm_gateway.adapters.gemini.call import parse_call, render_relay
from llm_gateway.adapters.gemini.counts import read_count, render_counted
from llm_gateway.adapters.gemini.errors import parse_error, render_error, render_stream_error
from llm_gateway.adapters.gemini.outgoing import render_count, render_request
from llm_gateway.adapters.gemini.relay import relay, relay_answer
from llm_gateway.adapters.gemini.request import parse_request
from llm_gateway.adapters.gemini.writer import render_answer, writer

__all__ = [
    "name",
    "parse_call",
    "parse_error",
    "parse_request",
    "read_answer",
    "read_count",
    "reader",
    "relay",
    "relay_answer",
    "render_answer",
    "render_count",
    "render_counted",
    "render_error",
    "render_relay",
    "render_request",
    "render_stream_error",
    "words",
    "writer",
]

name = "gemini"
_CONFIG = "generationConfig"
_PART = "contents[].parts[]"
words = {
    "messages": "contents",
    "messages[].content": _PART,
    "messages[].content[].content": f"{_PART}.functionResponse.parts",
    "messages[].content[].file": f"{_PART}.inlineData",
    "messages[].content[].file.file_url": f"{_PART}.fileData",
    "messages[].content[].image_url": f"{_PART}.inlineData",
    "messages[].content[].image_url.url": f"{_PART}.fileData",
    "messages[].content[].image_url.detail": f"{_PART}.mediaResolution",
    "messages[].content[].input_audio": f"{_PART}.inlineData",
    "messages[].reasoning_content": f"{_PART}.thought",
    "messages[].tool_call_id": f"{_PART}.functionResponse.id",
    "messages[].tool_calls": f"{_PART}.functionCall",
    "messages[].tool_calls[].extra_content": f"{_PART}.thoughtSignature",
    "messages[].extra_content": f"{_PART}.thoughtSignature",
    "messages[].tool_calls[].function.arguments": f"{_PART}.functionCall.args",
    "frequency_penalty": f"{_CONFIG}.frequencyPenalty",
    "logprobs": f"{_CONFIG}.responseLogprobs",
    "max_tokens": f"{_CONFIG}.maxOutputTokens",
    "n": f"{_CONFIG}.candidateCount",
    "presence_penalty": f"{_CONFIG}.presencePenalty",
    "reasoning_effort": f"{_CONFIG}.thinkingConfig",
    "response_format": f"{_CONFIG}.responseMimeType",
    "seed": f"{_CONFIG}.seed",
    "service_tier": "serviceTier",
    "stop": f"{_CONFIG}.stopSequences",
    "temperature": f"{_CONFIG}.temperature",
    "tools[].function": "tools[].functionDeclarations[]",
    "tool_choice": "toolConfig.functionCallingConfig",
    "top_k": f"{_CONFIG}.topK",
    "top_logprobs": f"{_CONFIG}.logprobs",
    "top_p": f"{_CONFIG}.topP",
}
