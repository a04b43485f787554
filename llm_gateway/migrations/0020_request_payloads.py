import django.db.models.deletion
import django.db.models.manager
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("llm_gateway", "0019_health_checks"),
        ("tenants", "0015_payloads"),
    ]

    operations = [
        migrations.RemoveField(model_name="requestlog", name="payload"),
        migrations.CreateModel(
            name="RequestPayload",
            fields=[
                (
                    "request",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="payload",
                        serialize=False,
                        to="llm_gateway.requestlog",
                    ),
                ),
                ("sealed", models.BinaryField()),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "all_tenants_unsafe",
                "default_manager_name": "all_tenants_unsafe",
                "indexes": [models.Index(fields=["tenant", "request"], name="payload_of_tenant")],
            },
            managers=[
                ("all_tenants_unsafe", django.db.models.manager.Manager()),
            ],
        ),
    ]
