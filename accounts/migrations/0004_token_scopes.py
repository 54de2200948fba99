"""What a token is limited to: operations and groups; no limit for those there are."""

from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models


class Migration(migrations.Migration):
    """Two columns that may be empty."""

    dependencies = [("accounts", "0003_triggers")]

    operations = [
        migrations.AddField(
            model_name="token",
            name="operations",
            field=ArrayField(
                models.CharField(max_length=32),
                blank=True,
                null=True,
                help_text="The only operations it may call, besides reading; nothing is no limit.",
            ),
        ),
        migrations.AddField(
            model_name="token",
            name="group_ids",
            field=ArrayField(
                models.BigIntegerField(),
                blank=True,
                null=True,
                help_text="The groups whose tasks alone exist for it; nothing is no limit.",
            ),
        ),
    ]
