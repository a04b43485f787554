"""Route /api/v1/; each route has its row in `AUTHZ_MATRIX`, and what is left over is a problem."""

from django.urls import path

from llm_gateway.api import openapi
from llm_gateway.api.account import Me
from llm_gateway.api.catalogue import Models
from llm_gateway.api.inference import Complete, Embed, Stream
from llm_gateway.api.insight import FocusFile, Forecasts, Recommendations, Usage, UsageFile
from llm_gateway.api.measures import Metrics
from llm_gateway.api.problems import not_found
from llm_gateway.api.request_log import OneRequest, Requests

urlpatterns = [
    path("llm/complete", Complete.as_view()),
    path("llm/stream", Stream.as_view()),
    path("llm/embed", Embed.as_view()),
    path("llm/models", Models.as_view()),
    path("llm/metrics", Metrics.as_view()),
    path("me", Me.as_view()),
    path("usage", Usage.as_view()),
    path("usage.csv", UsageFile.as_view()),
    path("usage.focus.csv", FocusFile.as_view()),
    path("forecast", Forecasts.as_view()),
    path("recommendations", Recommendations.as_view()),
    path("requests", Requests.as_view()),
    path("requests/<uuid:id>", OneRequest.as_view()),
    path("schema", openapi.Schema.as_view(), name="schema"),
    path("docs", openapi.Docs.as_view()),
    path("<path:rest>", not_found),
]
