import django.db.models.deletion
import django.db.models.manager
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0008_cache_generation"),
    ]

    operations = [
        migrations.CreateModel(
            name="LedgerAlarm",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("kind", models.CharField(max_length=16)),
                ("model", models.CharField(max_length=128)),
                ("day", models.DateField()),
                ("request_id", models.UUIDField()),
                ("attempt_no", models.SmallIntegerField()),
                ("said", models.CharField(max_length=300)),
                ("created_at", models.DateTimeField()),
                ("sent_at", models.DateTimeField(null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "db_table": "ledger_alarm",
                "abstract": False,
                "base_manager_name": "all_tenants_unsafe",
                "default_manager_name": "all_tenants_unsafe",
            },
            managers=[
                ("all_tenants_unsafe", django.db.models.manager.Manager()),
            ],
        ),
        migrations.AddField(
            model_name="alertdelivery",
            name="alarm",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="deliveries",
                to="tenants.ledgeralarm",
            ),
        ),
        migrations.AddConstraint(
            model_name="alertdelivery",
            constraint=models.UniqueConstraint(
                fields=("alarm", "sink"), name="alarm_delivery_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="ledgeralarm",
            constraint=models.UniqueConstraint(
                fields=("tenant", "model", "kind", "day"), name="ledger_alarm_once"
            ),
        ),
    ]
