import tenants.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("llm_gateway", "0004_conversations_prompts_batching"),
    ]

    operations = [
        migrations.AddField(
            model_name="model",
            name="image_tokens",
            field=models.PositiveIntegerField(
                blank=True, help_text="Of one image at most.", null=True
            ),
        ),
        migrations.AddField(
            model_name="price",
            name="image",
            field=tenants.fields.NanoUsdField(
                blank=True, null=True, verbose_name="per image in the request, USD"
            ),
        ),
    ]
