"""A mark for tasks that nobody can claim any more."""

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tasks", "0003_comments_attachments_tombstones"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="task",
            name="unclaimable_since",
            field=models.DateTimeField(
                help_text="When the clock found that nobody was left who could claim it.", null=True
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("unclaimable_since__isnull", False)),
                fields=["unclaimable_since"],
                name="task_unclaimable",
            ),
        ),
    ]
