"""Speak moderations and rerank: a list of results, never streamed, billed by its input."""

from tests.upstream.openai_wire import OpenAi
from tests.upstream.wire import Answer, Event, Json, Prompt, Tokens, dump, placed, texts, words


class _Listed(OpenAi):
    def __init__(self, name: str, fields: tuple[str, ...], result: Json) -> None:
        self.name, self.fields, self.result = name, fields, result

    def read(self, body: Json) -> Prompt:
        said = [body.get(field) for field in self.fields]
        # A limit of no words: a verdict is no output that anybody bills.
        return Prompt(
            model=str(body.get("model")),
            tokens=words(said),
            text=" ".join(texts(said)),
            last_user=" ".join(texts(said)),
            limit=0,
        )

    def usage(self, tokens: Tokens) -> Json:
        return {"prompt_tokens": tokens.input, "total_tokens": tokens.input}

    def whole(self, answer: Answer) -> list[Event]:
        items = answer.body.get(self.fields[0])
        count = len(items) if isinstance(items, list) else 1
        body: Json = {
            "id": f"list-up{answer.n}",
            "model": answer.prompt.model,
            "results": [{"index": index, **self.result} for index in range(count)],
        }
        usage = answer.usages[-1] if answer.usages else None
        if usage is not None:
            body |= placed(usage, answer.usage_path)
        return [Event(dump(body), 0, usage)]

    def stream(self, answer: Answer) -> list[Event]:
        return self.whole(answer)


VERDICT: Json = {"flagged": False, "categories": {}, "category_scores": {}}
MODERATIONS = _Listed("openai.moderations", ("input",), VERDICT)
RERANK = _Listed("rerank", ("documents", "query"), {"relevance_score": 0.5})
