import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0006_run_ceilings"),
    ]

    operations = [
        migrations.AddField(
            model_name="tenant",
            name="retention_months",
            field=models.PositiveSmallIntegerField(
                blank=True,
                help_text="Whole months the request log keeps behind the running one; empty: the setting.",
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(1),
                    django.core.validators.MaxValueValidator(1200),
                ],
            ),
        ),
    ]
