"""What tells a repeated request to create a task from another one with the same external id."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """A column that may be empty, as it is for all tasks there are."""

    dependencies = [("tasks", "0008_flat_lists")]

    operations = [
        migrations.AddField(
            model_name="task",
            name="request_digest",
            field=models.BinaryField(
                max_length=32,
                null=True,
                editable=False,
                help_text="Of the body that made it, to tell the same request from another one.",
            ),
        ),
    ]
