"""Tenants: who may call, with which key, for how much."""

from django.apps import AppConfig
from typing_extensions import override


class TenantsConfig(AppConfig):
    name = "tenants"
    default_auto_field = "django.db.models.BigAutoField"

    @override
    def import_models(self) -> None:
        super().import_models()
        # Not from `tenants.models`, on which these are built.
        import tenants.alerts.models  # noqa: F401, PLC0415 - registers them, from here on
        import tenants.money.checks  # noqa: F401, PLC0415 - likewise
        import tenants.money.models  # noqa: F401, PLC0415 - likewise
        import tenants.signin.models  # noqa: F401, PLC0415 - likewise
