import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0014_raise_requests"),
    ]

    operations = [
        migrations.AlterField(
            model_name="tenant",
            name="log_payloads",
            field=models.CharField(
                blank=True,
                choices=[("none", "None"), ("redacted", "Redacted"), ("full", "Full")],
                default="",
                help_text="What is kept of requests and answers themselves; empty: the setting.",
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="payload_days",
            field=models.PositiveSmallIntegerField(
                default=30,
                help_text="Days for which that is kept, and no longer than its row of the request log.",
                validators=[
                    django.core.validators.MinValueValidator(1),
                    django.core.validators.MaxValueValidator(3650),
                ],
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="operators_read_payloads",
            field=models.BooleanField(
                default=False,
                help_text="Lets operators of the installation read it, not only admins.",
            ),
        ),
    ]
