"""Attached files: written before their rows are committed, deleted after those are gone."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.core.files import File
from django.core.files.storage import default_storage

from tasks.models import Attachment
from tasks.uuid7 import uuid7


def write(content: File[bytes]) -> str:
    """Keep a file under a name of its own, which is answered."""
    content.seek(0)
    return default_storage.save(str(uuid7()), content)


def of_tasks(ids: Iterable[UUID]) -> set[str]:
    """The names of the files that some tasks carry."""
    return set(Attachment.objects.filter(task__in=list(ids)).values_list("file", flat=True))


def delete_unused(names: Iterable[str]) -> None:
    """Delete those of some files that no task carries any more."""
    names = set(names)
    if names:
        used = Attachment.objects.filter(file__in=names).values_list("file", flat=True)
        for name in names - set(used):
            default_storage.delete(name)
