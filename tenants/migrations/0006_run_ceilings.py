from django.db import migrations

from tenants.types import parse_usd


def keep_ceilings(apps, schema_editor):
    """Make the ceiling of agent runs a budget where it was only written down."""
    tenants = apps.get_model("tenants", "Tenant").objects.using(schema_editor.connection.alias)
    budgets = apps.get_model("tenants", "Budget")._default_manager.using(
        schema_editor.connection.alias
    )
    for tenant in tenants.all():
        limit = tenant.runs.pop("budget", None)
        if limit is None:
            continue
        budgets.create(
            tenant=tenant,
            name="runs.budget",
            limit_nano=parse_usd(limit),
            period="total",
            per="run",
            managed_by_file=tenant.managed_by_file,
        )
        tenant.save(update_fields=["runs"])


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0005_runs"),
    ]

    operations = [
        migrations.RunPython(keep_ceilings, migrations.RunPython.noop),
    ]
