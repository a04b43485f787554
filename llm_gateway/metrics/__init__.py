"""Count what happens, for Prometheus and for the native API."""

from llm_gateway.metrics.prometheus import (
    Sample,
    breaker_changed,
    breaker_counted,
    breaker_probed,
    model_list_looked,
    observe,
    render,
    sample,
)
from llm_gateway.metrics.providers import provider_metrics

__all__ = [
    "Sample",
    "breaker_changed",
    "breaker_counted",
    "breaker_probed",
    "model_list_looked",
    "observe",
    "provider_metrics",
    "render",
    "sample",
]
