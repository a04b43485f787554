from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0007_tenant_retention")]

    operations = [
        migrations.AddField(
            model_name="tenant",
            name="cache_generation",
            field=models.PositiveIntegerField(default=0, editable=False),
        ),
    ]
