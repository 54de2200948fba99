"""What a token is limited to, no limit for those there are; client secrets and their tokens."""

from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models


class Migration(migrations.Migration):
    """Three columns that may be empty."""

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
        migrations.AddField(
            model_name="token",
            name="issued_by",
            field=models.BigIntegerField(
                null=True, editable=False, help_text="The client secret that it was issued for."
            ),
        ),
        migrations.AddIndex(
            model_name="token",
            index=models.Index(
                fields=["issued_by"],
                condition=models.Q(issued_by__isnull=False),
                name="token_issued_by",
            ),
        ),
        migrations.AlterField(
            model_name="token",
            name="kind",
            field=models.CharField(
                max_length=16,
                choices=[
                    ("api", "API token"),
                    ("itential", "Itential session"),
                    ("client", "OAuth client secret"),
                ],
            ),
        ),
    ]
