"""The gateway: one door to every provider."""

from django.apps import AppConfig


class LlmGatewayConfig(AppConfig):
    name = "llm_gateway"
    verbose_name = "Gateway"
    default_auto_field = "django.db.models.BigAutoField"
