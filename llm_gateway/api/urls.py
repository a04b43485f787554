"""Route /api/v1/; each route has its row in `AUTHZ_MATRIX`, and what is left over is a problem."""

from django.urls import path

from llm_gateway.api import managed, openapi
from llm_gateway.api.account import Me
from llm_gateway.api.answers import Cache
from llm_gateway.api.catalogue import Models
from llm_gateway.api.circuits import Circuits, OneCircuit
from llm_gateway.api.conversations import Conversations, OneConversation
from llm_gateway.api.explain import Explain
from llm_gateway.api.inference import Complete, Embed, Stream
from llm_gateway.api.inflight import OneRunning, Running
from llm_gateway.api.insight import FocusFile, Forecasts, Recommendations, Usage, UsageFile
from llm_gateway.api.measures import Metrics
from llm_gateway.api.problems import not_found
from llm_gateway.api.prompts import OnePrompt, Prompts
from llm_gateway.api.request_log import OneRequest, Requests
from llm_gateway.api.together import Parallel, Race
from llm_gateway.api.words import CountTokens, OptimizePrompt
from llm_gateway.configuration.kinds import KINDS

_MANAGED = {name: managed.views_of(name) for name in KINDS}

urlpatterns = [
    path("llm/complete", Complete.as_view()),
    path("llm/stream", Stream.as_view()),
    path("llm/race", Race.as_view()),
    path("llm/parallel", Parallel.as_view()),
    path("llm/embed", Embed.as_view()),
    path("llm/count_tokens", CountTokens.as_view()),
    path("llm/optimize_prompt", OptimizePrompt.as_view()),
    path("llm/explain", Explain.as_view()),
    path("llm/models", Models.as_view()),
    path("llm/metrics", Metrics.as_view()),
    path("cache", Cache.as_view()),
    path("inflight", Running.as_view()),
    path("inflight/<uuid:id>", OneRunning.as_view()),
    path("prompts", Prompts.as_view()),
    path("prompts/<str:name>", OnePrompt.as_view()),
    path("conversations", Conversations.as_view()),
    path("conversations/<uuid:id>", OneConversation.as_view()),
    path("me", Me.as_view()),
    path("usage", Usage.as_view()),
    path("usage.csv", UsageFile.as_view()),
    path("usage.focus.csv", FocusFile.as_view()),
    path("forecast", Forecasts.as_view()),
    path("recommendations", Recommendations.as_view()),
    path("circuits", Circuits.as_view()),
    path("circuits/<int:deployment>", OneCircuit.as_view()),
    path("requests", Requests.as_view()),
    path("requests/<uuid:id>", OneRequest.as_view()),
    *(path(name, listed.as_view()) for name, (listed, _) in _MANAGED.items()),
    *(path(f"{name}/<str:name>", one.as_view()) for name, (_, one) in _MANAGED.items()),
    path("keys/<str:name>/rotate", managed.Rotate.as_view()),
    path("audit", managed.Audit.as_view()),
    path("schema", openapi.Schema.as_view(), name="schema"),
    path("docs", openapi.Docs.as_view()),
    path("<path:rest>", not_found),
]
