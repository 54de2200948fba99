"""Make the built-in group that holds every active account; its members come with the triggers."""

from typing import ClassVar

from django.db import migrations


def make(apps, schema_editor):
    apps.get_model("accounts", "Group").objects.create(
        name="everybody",
        description="Every active account.",
        provenance="System",
        is_builtin=True,
    )


def remove(apps, schema_editor):
    group = apps.get_model("accounts", "Group").objects.get(is_builtin=True)
    apps.get_model("accounts", "EffectiveMembership").objects.filter(group=group).delete()
    group.delete()


class Migration(migrations.Migration):
    dependencies: ClassVar = [("accounts", "0001_initial")]
    operations: ClassVar = [migrations.RunPython(make, remove)]
