from datetime import timedelta

from django.db import migrations, models

UNLOCK = {
    "postgresql": "DROP TRIGGER IF EXISTS mobius_append_only ON tenants_auditevent",
    "sqlite": "DROP TRIGGER IF EXISTS mobius_tenants_auditevent_no_update",
}
MINUTE = timedelta(minutes=1)  # between what was made and what says so


def know_by_id(apps, schema_editor):
    """Say whose the events of today's tenants are; one of the same name before them had others.

    What keeps the table from being rewritten is made anew after every migration.
    """
    schema_editor.execute(UNLOCK[schema_editor.connection.vendor])
    events = apps.get_model("tenants", "AuditEvent").objects
    for tenant in apps.get_model("tenants", "Tenant").objects.all():
        its = events.filter(tenant_name=tenant.name, created_at__gte=tenant.created_at - MINUTE)
        its.update(tenant_id=tenant.pk)


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0015_payloads"),
    ]

    operations = [
        migrations.AddField(
            model_name="auditevent",
            name="tenant_id",
            field=models.BigIntegerField(db_index=True, null=True),
        ),
        migrations.RunPython(know_by_id, migrations.RunPython.noop),
    ]
