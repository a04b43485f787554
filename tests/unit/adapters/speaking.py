"""Say one turn of a model in each provider's own words, and read what a request says back to it.

A turn is thought, sealed thought, text and calls of tools; who has no word for one leaves it out.
What goes back has to be what was said: `heard` reads it from the wire as that provider would.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from llm_gateway.adapters import eventstream, ndjson, sse
from llm_gateway.adapters.framing import Framing
from tests.unit.adapters.golden_providers import packed

Wire = dict[str, Any]
USAGE = (30, 60)  # tokens of input and output


class ToolUse(NamedTuple):
    """A call of a tool; without an id where a provider gives none."""

    id: str
    name: str
    arguments: Wire


class Turn(NamedTuple):
    """What a model says at once. Google signs the first call, and the text before it.

    `used` is the usage in the provider's own words, where it is not the usual; `searches` are
    those that the provider ran, where it tells of them in the answer.
    """

    number: int
    thought: str
    signature: str
    sealed: str
    text: str
    calls: tuple[ToolUse, ...]
    used: Wire | None = None
    searches: int = 0


class Heard(NamedTuple):
    """What a provider reads of its own turns, in order, and of the results of its tools."""

    thoughts: list[str]
    signatures: list[str]
    calls: list[ToolUse]
    results: list[tuple[str, str]]


class Provider(NamedTuple):
    """One wire protocol from the provider's side: `kind` is a row of the catalogue."""

    kind: str
    whole: Callable[[Turn], Wire]
    stream: Callable[[Turn], bytes]
    heard: Callable[[Wire], Heard]
    framer: Callable[[], Framing]
    signs: Callable[[Turn], list[str]] = lambda _turn: []


def halves(text: str) -> list[str]:
    return [text[: len(text) // 2], text[len(text) // 2 :]] if text else []


def events(bodies: Iterable[Wire], *, named: bool = False, end: str = "") -> bytes:
    lines = []
    for body in bodies:
        head = f"event: {body['type']}\n" if named else ""
        lines.append(f"{head}data: {json.dumps(body)}\n\n")
    return "".join([*lines, end]).encode()


def flat(lists: Iterable[list[Any]]) -> list[Any]:
    return [item for one in lists for item in one]


def said_of(content: Any) -> str:
    """Return the text of a tool's result, a string or parts."""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content)


# --- OpenAI's chat, and what OpenRouter adds to it


def chat_whole(turn: Turn, **thought: Any) -> Wire:
    message: Wire = {"role": "assistant", "content": turn.text or None, **thought}
    message["tool_calls"] = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
        }
        for call in turn.calls
    ]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return {**_completion("chat.completion"), "choices": [choice], "usage": _completed(turn)}


def chat_stream(turn: Turn, thought: Iterable[Wire]) -> bytes:
    deltas: list[Wire] = [{"role": "assistant", "content": ""}, *thought]
    deltas += [{"content": half} for half in halves(turn.text)]
    for index, call in enumerate(turn.calls):
        function = {"name": call.name, "arguments": ""}
        begun: Wire = {"index": index, "id": call.id, "type": "function", "function": function}
        deltas.append({"tool_calls": [begun]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": half}}]}
            for half in halves(json.dumps(call.arguments))
        ]
    choices: list[Wire] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "tool_calls"})
    head = _completion("chat.completion.chunk")
    chunks = [{**head, "choices": [choice]} for choice in choices]
    return events(
        [*chunks, {**head, "choices": [], "usage": _completed(turn)}], end="data: [DONE]\n\n"
    )


def _completion(kind: str) -> Wire:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "m"}


def _completed(turn: Turn) -> Wire:
    took, gave = USAGE
    return turn.used or {
        "prompt_tokens": took,
        "completion_tokens": gave,
        "total_tokens": took + gave,
    }


def chat_heard(body: Wire) -> Heard:
    said = [one for one in body["messages"] if one["role"] == "assistant"]
    details = flat(one.get("reasoning_details", []) for one in said)
    return Heard(
        [one["reasoning_content"] for one in said if "reasoning_content" in one]
        + [one["text"] for one in details if one["type"] == "reasoning.text"],
        [one.get("signature") or one["data"] for one in details],
        [
            ToolUse(call["id"], function["name"], json.loads(function["arguments"]))
            for call in flat(one["tool_calls"] for one in said)
            for function in [call["function"]]
        ],
        [
            (one["tool_call_id"], said_of(one["content"]))
            for one in body["messages"]
            if one["role"] == "tool"
        ],
    )


def detailed(turn: Turn) -> list[Wire]:
    named = {"format": "anthropic-claude-v1"}
    text = {"type": "reasoning.text", "index": 0, **named}
    sealed = {"type": "reasoning.encrypted", "data": turn.sealed, "index": 1, **named}
    whole = {**text, "text": turn.thought, "signature": turn.signature}
    return [whole] if not turn.sealed else [whole, sealed]


def detailed_deltas(turn: Turn) -> Iterator[Wire]:
    whole, *sealed = detailed(turn)
    text = {name: value for name, value in whole.items() if name not in {"text", "signature"}}
    for half in halves(turn.thought):
        yield {"reasoning": half, "reasoning_details": [{**text, "text": half}]}
    yield {"reasoning_details": [{**text, "signature": turn.signature}]}
    for one in sealed:
        yield {"reasoning_details": [one]}


# --- Anthropic


def blocks(turn: Turn) -> list[Wire]:
    thinking = {"type": "thinking", "thinking": turn.thought, "signature": turn.signature}
    sealed = {"type": "redacted_thinking", "data": turn.sealed}
    text = {"type": "text", "text": turn.text}
    calls = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}
        for call in turn.calls
    ]
    return [thinking, *([sealed] if turn.sealed else []), *([text] if turn.text else []), *calls]


def message(content: list[Wire], stop: str | None, used: Wire) -> Wire:
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content,
        "stop_reason": stop, "stop_sequence": None,
        "usage": used,
    }  # fmt: skip


def _counted(turn: Turn) -> Wire:
    return turn.used or {"input_tokens": USAGE[0], "output_tokens": USAGE[1]}


def message_stream(turn: Turn) -> bytes:
    begun_with = {**_counted(turn), "output_tokens": 1}
    said: list[Wire] = [{"type": "message_start", "message": message([], None, begun_with)}]
    for index, block in enumerate(blocks(turn)):
        begun, deltas = _in_pieces(block)
        said.append({"type": "content_block_start", "index": index, "content_block": begun})
        said += [
            {"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas
        ]
        said.append({"type": "content_block_stop", "index": index})
    stop = {"stop_reason": "tool_use", "stop_sequence": None}
    said.append({"type": "message_delta", "delta": stop, "usage": _counted(turn)})
    return events([*said, {"type": "message_stop"}], named=True)


def _in_pieces(block: Wire) -> tuple[Wire, list[Wire]]:
    """Return how a block begins, and what follows piece by piece."""
    match str(block["type"]):
        case "thinking":
            deltas = [
                {"type": "thinking_delta", "thinking": one} for one in halves(block["thinking"])
            ]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
            return {**block, "thinking": "", "signature": ""}, deltas
        case "text":
            return {**block, "text": ""}, [
                {"type": "text_delta", "text": one} for one in halves(block["text"])
            ]
        case "tool_use":
            text = json.dumps(block["input"]) if block["input"] else ""
            return {**block, "input": {}}, [
                {"type": "input_json_delta", "partial_json": one} for one in halves(text)
            ]
        case _:
            return block, []


def blocks_heard(body: Wire) -> Heard:
    said = flat(one["content"] for one in body["messages"] if isinstance(one["content"], list))
    signed = [one for one in said if "thinking" in one["type"]]
    return Heard(
        [one["thinking"] for one in signed if one.get("thinking")],
        [one.get("signature") or one["data"] for one in signed],
        [
            ToolUse(one["id"], one["name"], one["input"])
            for one in said
            if one["type"] == "tool_use"
        ],
        [
            (one["tool_use_id"], said_of(one["content"]))
            for one in said
            if one["type"] == "tool_result"
        ],
    )


# --- Bedrock


def converse_blocks(turn: Turn) -> list[Wire]:
    text = {"text": turn.thought, "signature": turn.signature}
    sealed = {"reasoningContent": {"redactedContent": turn.sealed}}
    calls = [
        {"toolUse": {"toolUseId": call.id, "name": call.name, "input": call.arguments}}
        for call in turn.calls
    ]
    return [
        {"reasoningContent": {"reasoningText": text}},
        *([sealed] if turn.sealed else []),
        *([{"text": turn.text}] if turn.text else []),
        *calls,
    ]


def converse_whole(turn: Turn) -> Wire:
    said = {"role": "assistant", "content": converse_blocks(turn)}
    return {"output": {"message": said}, "stopReason": "tool_use", "usage": _conversed(turn)}


def _conversed(turn: Turn) -> Wire:
    return turn.used or {
        "inputTokens": USAGE[0],
        "outputTokens": USAGE[1],
        "totalTokens": sum(USAGE),
    }


def converse_stream(turn: Turn) -> bytes:
    said: list[tuple[str, Wire]] = [("messageStart", {"role": "assistant"})]
    for index, block in enumerate(converse_blocks(turn)):
        at = {"contentBlockIndex": index}
        if "toolUse" in block:
            named = {name: block["toolUse"][name] for name in ("toolUseId", "name")}
            said.append(("contentBlockStart", {**at, "start": {"toolUse": named}}))
        said += [("contentBlockDelta", {**at, "delta": delta}) for delta in _converse_deltas(block)]
        said.append(("contentBlockStop", at))
    said.append(("messageStop", {"stopReason": "tool_use"}))
    said.append(("metadata", {"usage": _conversed(turn)}))
    return b"".join(packed(kind, payload) for kind, payload in said)


def _converse_deltas(block: Wire) -> list[Wire]:
    if "toolUse" in block:
        arguments = block["toolUse"]["input"]
        text = json.dumps(arguments) if arguments else ""
        return [{"toolUse": {"input": half}} for half in halves(text)]
    if "text" in block:
        return [{"text": half} for half in halves(block["text"])]
    thought = block["reasoningContent"]
    if "redactedContent" in thought:
        return [block]
    signed = thought["reasoningText"]
    return [
        *({"reasoningContent": {"text": half}} for half in halves(signed["text"])),
        {"reasoningContent": {"signature": signed["signature"]}},
    ]


def converse_heard(body: Wire) -> Heard:
    said = flat(one["content"] for one in body["messages"])
    thoughts = [one["reasoningContent"] for one in said if "reasoningContent" in one]
    texts = [one["reasoningText"] for one in thoughts if "reasoningText" in one]
    calls = [one["toolUse"] for one in said if "toolUse" in one]
    results = [one["toolResult"] for one in said if "toolResult" in one]
    return Heard(
        [one["text"] for one in texts],
        [
            one["reasoningText"]["signature"] if "reasoningText" in one else one["redactedContent"]
            for one in thoughts
        ],
        [ToolUse(one["toolUseId"], one["name"], one["input"]) for one in calls],
        [(one["toolUseId"], said_of(one["content"])) for one in results],
    )


# --- Gemini


def parts(turn: Turn) -> list[Wire]:
    """Return the parts: the text is signed where there is one, and the first of the calls."""
    calls: list[Wire] = [
        {"functionCall": {"id": call.id, "name": call.name, "args": call.arguments}}
        for call in turn.calls
    ]
    calls[0]["thoughtSignature"] = turn.signature
    text = {"text": turn.text, "thoughtSignature": turn.sealed}
    thought = {"text": turn.thought, "thought": True}
    return [thought, *([text] if turn.text else []), *calls]


def content(turn: Turn) -> Wire:
    return _candidates(turn, parts(turn), finish="STOP")


def content_stream(turn: Turn) -> bytes:
    said = []
    for part in parts(turn):
        *before, last = halves(part["text"]) if "text" in part else [""]
        plain = {name: value for name, value in part.items() if name != "thoughtSignature"}
        said += [{**plain, "text": piece} for piece in before]
        said.append({**part, "text": last} if "text" in part else part)
    return events(
        _candidates(turn, [part], finish="STOP" if part is said[-1] else "") for part in said
    )


def _candidates(turn: Turn, said: list[Wire], *, finish: str) -> Wire:
    took, gave = USAGE
    usual = {
        "promptTokenCount": took, "candidatesTokenCount": gave - 20, "thoughtsTokenCount": 20
    }  # fmt: skip
    ended: Wire = {"finishReason": finish} if finish else {}
    if finish and turn.searches:
        queries = [f"query {number}" for number in range(turn.searches)]
        ended["groundingMetadata"] = {"webSearchQueries": queries}
    return {
        "candidates": [{"content": {"parts": said, "role": "model"}, "index": 0, **ended}],
        "usageMetadata": turn.used or usual,
        "responseId": f"r{turn.number}", "modelVersion": "m",
    }  # fmt: skip


def content_heard(body: Wire) -> Heard:
    said = flat(one["parts"] for one in body["contents"])
    calls = [part["functionCall"] for part in said if "functionCall" in part]
    results = [part["functionResponse"] for part in said if "functionResponse" in part]
    standard = str.maketrans("-_", "+/")  # its own SDK writes base64 in the other alphabet
    signed = [one["thoughtSignature"] for one in said if "thoughtSignature" in one]
    return Heard(
        ["".join(part["text"] for part in said if part.get("thought"))],
        [one.translate(standard) for one in signed],
        [ToolUse(one.get("id", ""), one["name"], one["args"]) for one in calls],
        [(one.get("id", ""), one["response"]["output"]) for one in results],
    )


# --- OpenAI's Responses


def items(turn: Turn) -> list[Wire]:
    number = turn.number
    summary = [{"type": "summary_text", "text": turn.thought}]
    text = {"type": "output_text", "text": turn.text, "annotations": [], "logprobs": []}
    said = {
        "type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed",
        "content": [text],
    }  # fmt: skip
    thought = {
        "type": "reasoning", "id": f"rs_{number}", "summary": summary,
        "encrypted_content": turn.signature,
    }  # fmt: skip
    calls = [
        {
            "type": "function_call", "id": f"fc_{number}{place}", "call_id": call.id,
            "name": call.name, "arguments": json.dumps(call.arguments), "status": "completed",
        }
        for place, call in enumerate(turn.calls)
    ]  # fmt: skip
    searches = [
        {
            "type": "web_search_call", "id": f"ws_{number}{place}", "status": "completed",
            "action": {"type": "search", "query": "q", "queries": ["q"]},
        }
        for place in range(turn.searches)
    ]  # fmt: skip
    return [thought, *searches, *([said] if turn.text else []), *calls]


def response(turn: Turn, output: list[Wire], *, status: str = "completed") -> Wire:
    took, gave = USAGE
    usage = turn.used or {
        "input_tokens": took, "output_tokens": gave, "total_tokens": took + gave,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 20},
    }  # fmt: skip
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": status,
        "output": output, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "error": None, "incomplete_details": None, "instructions": None, "metadata": {},
        "temperature": 1.0, "top_p": 1.0, "usage": usage if status == "completed" else None,
    }  # fmt: skip


def response_stream(turn: Turn) -> bytes:
    said: list[Wire] = [
        {"type": "response.created", "response": response(turn, [], status="in_progress")}
    ]
    for index, item in enumerate(items(turn)):
        said += _item_events(index, item)
    said.append({"type": "response.completed", "response": response(turn, items(turn))})
    numbered = [{**one, "sequence_number": number} for number, one in enumerate(said)]
    return events(numbered, named=True)


def _item_events(index: int, item: Wire) -> list[Wire]:
    at = {"output_index": index, "item_id": item["id"]}
    empty: dict[str, Wire] = {
        "web_search_call": {"status": "in_progress"},
        "reasoning": {"summary": [], "encrypted_content": "not yet"},
        "message": {"content": [], "status": "in_progress"},
        "function_call": {"arguments": "", "status": "in_progress"},
    }
    begun = {**item, **empty[item["type"]]}
    deltas = [{**at, **one} for one in _DELTAS[item["type"]](item)]
    return [
        {"type": "response.output_item.added", "output_index": index, "item": begun},
        *deltas,
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def _thought_deltas(item: Wire) -> Iterator[Wire]:
    name, at = "response.reasoning_summary", {"summary_index": 0}
    (part,) = item["summary"]
    yield {"type": f"{name}_part.added", **at, "part": {**part, "text": ""}}
    for half in halves(part["text"]):
        yield {"type": f"{name}_text.delta", **at, "delta": half}
    yield {"type": f"{name}_text.done", **at, "text": part["text"]}
    yield {"type": f"{name}_part.done", **at, "part": part}


def _text_deltas(item: Wire) -> Iterator[Wire]:
    (part,), at = item["content"], {"content_index": 0}
    yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
    for half in halves(part["text"]):
        yield {"type": "response.output_text.delta", **at, "delta": half, "logprobs": []}
    yield {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **at, "part": part}


def _call_deltas(item: Wire) -> Iterator[Wire]:
    name = "response.function_call_arguments"
    for half in halves(item["arguments"]):
        yield {"type": f"{name}.delta", "delta": half}
    yield {"type": f"{name}.done", "arguments": item["arguments"], "name": item["name"]}


_DELTAS: dict[str, Callable[[Wire], Iterator[Wire]]] = {
    "web_search_call": lambda _item: iter(()),
    "reasoning": _thought_deltas,
    "message": _text_deltas,
    "function_call": _call_deltas,
}


def items_heard(body: Wire) -> Heard:
    of = {
        kind: [one for one in body["input"] if one.get("type") == kind]
        for kind in ("reasoning", "function_call", "function_call_output")
    }
    return Heard(
        ["".join(part["text"] for part in one["summary"]) for one in of["reasoning"]],
        [f"{one['id']} {one['encrypted_content']}" for one in of["reasoning"]],
        [
            ToolUse(one["call_id"], one["name"], json.loads(one["arguments"]))
            for one in of["function_call"]
        ],
        [(one["call_id"], said_of(one["output"])) for one in of["function_call_output"]],
    )


# --- Cohere


def cohere_whole(turn: Turn) -> Wire:
    said = {"role": "assistant", "tool_plan": turn.thought, "tool_calls": _functions(turn)}
    return {"id": "c", "finish_reason": "TOOL_CALL", "message": said, "usage": _billed(turn)}


def _functions(turn: Turn) -> list[Wire]:
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
        }
        for call in turn.calls
    ]


def _billed(turn: Turn) -> Wire:
    counted = {"input_tokens": USAGE[0], "output_tokens": USAGE[1]}
    return turn.used or {"billed_units": counted, "tokens": counted}


def cohere_stream(turn: Turn) -> bytes:
    def delta(kind: str, said: Wire, **at: int) -> Wire:
        return {"type": kind, **at, "delta": {"message": said}}

    said = [{"id": "c", **delta("message-start", {"role": "assistant", "content": []})}]
    said += [delta("tool-plan-delta", {"tool_plan": half}) for half in halves(turn.thought)]
    for index, call in enumerate(_functions(turn)):
        begun = {**call, "function": {**call["function"], "arguments": ""}}
        said.append(delta("tool-call-start", {"tool_calls": begun}, index=index))
        said += [
            delta("tool-call-delta", {"tool_calls": {"function": {"arguments": half}}}, index=index)
            for half in halves(call["function"]["arguments"])
        ]
        said.append({"type": "tool-call-end", "index": index})
    ended = {"finish_reason": "TOOL_CALL", "usage": _billed(turn)}
    return events([*said, {"type": "message-end", "delta": ended}], named=True)


def cohere_heard(body: Wire) -> Heard:
    said = [one for one in body["messages"] if one["role"] == "assistant"]
    heard = chat_heard(body)
    return heard._replace(thoughts=[one["tool_plan"] for one in said])


# --- Ollama


def ollama_whole(turn: Turn) -> Wire:
    return _ollama(turn, turn.thought, turn.text, list(turn.calls), done=True)


def ollama_stream(turn: Turn) -> bytes:
    said = [_ollama(turn, half, "", []) for half in halves(turn.thought)]
    said += [_ollama(turn, "", half, []) for half in halves(turn.text)]
    said += [_ollama(turn, "", "", [call]) for call in turn.calls]
    said.append(_ollama(turn, "", "", [], done=True))
    return b"".join(json.dumps(one).encode() + b"\n" for one in said)


def _ollama(
    turn: Turn, thought: str, text: str, calls: list[ToolUse], *, done: bool = False
) -> Wire:
    said: Wire = {"role": "assistant", "content": text}
    if thought:
        said["thinking"] = thought
    if calls:
        said["tool_calls"] = [
            {
                "id": call.id,
                "function": {
                    "index": turn.calls.index(call), "name": call.name, "arguments": call.arguments
                },
            }
            for call in calls
        ]  # fmt: skip
    used = turn.used or {"prompt_eval_count": USAGE[0], "eval_count": USAGE[1]}
    ended = {"done_reason": "stop", **used}
    head = {
        "model": "m",
        "created_at": f"2026-05-24T20:26:4{turn.number}Z",
        "message": said,
        "done": done,
    }
    return head | (ended if done else {})


def ollama_heard(body: Wire) -> Heard:
    said = [one for one in body["messages"] if one["role"] == "assistant"]
    return Heard(
        [one["thinking"] for one in said],
        [],
        [
            ToolUse(call["id"], call["function"]["name"], call["function"]["arguments"])
            for call in flat(one["tool_calls"] for one in said)
        ],
        [
            (one["tool_call_id"], one["content"])
            for one in body["messages"]
            if one["role"] == "tool"
        ],
    )


# --- all of them


def signed(turn: Turn) -> list[str]:
    return [turn.signature, turn.sealed] if turn.sealed else [turn.signature]


def signed_by_google(turn: Turn) -> list[str]:
    return [turn.sealed, turn.signature] if turn.text else [turn.signature]


PROVIDERS = {
    "openai_chat": Provider(
        "deepseek",
        lambda turn: chat_whole(turn, reasoning_content=turn.thought),
        lambda turn: chat_stream(
            turn, ({"reasoning_content": half} for half in halves(turn.thought))
        ),
        chat_heard,
        sse.Framer,
    ),
    "openrouter": Provider(
        "openrouter",
        lambda turn: chat_whole(turn, reasoning=turn.thought, reasoning_details=detailed(turn)),
        lambda turn: chat_stream(turn, detailed_deltas(turn)),
        chat_heard,
        sse.Framer,
        signs=signed,
    ),
    "anthropic_messages": Provider(
        "anthropic",
        lambda turn: message(blocks(turn), "tool_use", _counted(turn)),
        message_stream,
        blocks_heard,
        sse.Framer,
        signs=signed,
    ),
    "gemini": Provider(
        "gemini", content, content_stream, content_heard, sse.Framer, signs=signed_by_google
    ),
    "openai_responses": Provider(
        "openai",
        lambda turn: response(turn, items(turn)),
        response_stream,
        items_heard,
        sse.Framer,
        signs=lambda turn: [f"rs_{turn.number} {turn.signature}"],
    ),
    "bedrock_converse": Provider(
        "bedrock",
        converse_whole,
        converse_stream,
        converse_heard,
        eventstream.Framer,
        signs=signed,
    ),
    "cohere": Provider("cohere", cohere_whole, cohere_stream, cohere_heard, sse.Framer),
    "ollama": Provider("ollama", ollama_whole, ollama_stream, ollama_heard, ndjson.Framer),
}
