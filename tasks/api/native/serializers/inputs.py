"""What goes in: strict input for each operation, on one task and on many."""

from __future__ import annotations

import base64
import binascii
from functools import cache
from typing import Any, ClassVar, Final

from django.core.files.base import ContentFile, File
from django.core.files.uploadedfile import UploadedFile
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from tasks.lifecycle import UPDATES

from .documents import TaskDocument
from .fields import Document, Flag, Holders, Ids, Moment, Names, Person, Strict, Text, Whole


class Plain(Strict):
    """An operation without arguments: it may have a reason, as all have."""

    reason = Text(required=False, allow_null=True, allow_blank=True)


class Explained(Plain):
    """Reasons stand in the audit, so an example shows one."""

    example: ClassVar = {"reason": ""}


class Nominate(Plain):
    """To whom the task is offered, and to nobody else."""

    people = Holders()
    example: ClassVar = {"people": {"users": [], "groups": []}, "reason": ""}


class ClaimNext(Strict):
    """The groups whose tasks are looked at; without it, the whole worklist."""

    groups = Names(allow_empty=False)
    example: ClassVar = {}


class Assign(Plain):
    """Who is to have the task."""

    to = Person()
    example: ClassVar = {"to": {"user": ""}, "reason": ""}


class Forward(Plain):
    """To whom the task goes, and whose part of it if it is not the caller's own."""

    to = Person()
    from_ = Person(required=False, source="from_")
    example: ClassVar = {"to": {"group": ""}, "reason": ""}


class Transfer(Plain):
    """Which role moves, to whom, and from whom if it is not the caller's own."""

    role = Text()
    to = Person()
    from_ = Person(required=False, source="from_")
    example: ClassVar = {
        "role": "owner",
        "to": {"user": ""},
        "from": {"user": ""},
        "reason": "",
    }


class Grant(Plain):
    """Which role, and who is to have it."""

    role = Text()
    to = Person()
    example: ClassVar = {"role": "potential_owner", "to": {"group": ""}, "reason": ""}


class Revoke(Plain):
    """Which role, and who is to lose it."""

    role = Text()
    from_ = Person(source="from_")
    example: ClassVar = {"role": "potential_owner", "from": {"group": ""}, "reason": ""}


class Suspend(Plain):
    """When the task wakes up; never by itself without it."""

    until = Moment(required=False, allow_null=True)
    example: ClassVar = {"until": None, "reason": ""}


class SuspendAndRelease(Suspend):
    """When it wakes up, and whether output and fault are kept."""

    keep_data = Flag(required=False)
    example: ClassVar = {"until": None, "keep_data": True, "reason": ""}


class SaveOutput(Plain):
    """What there is of the output so far."""

    output = serializers.JSONField(allow_null=True)
    example: ClassVar = {"output": {}}


class Fault(Plain):
    """What went wrong, and what it is called."""

    fault = serializers.JSONField(required=False, allow_null=True)
    fault_name = Text(required=False, allow_blank=True)
    example: ClassVar = {"fault_name": "", "fault": {}, "reason": ""}


class Complete(Plain):
    """What came of the work; without it, what was saved before."""

    output = serializers.JSONField(required=False, allow_null=True)
    example: ClassVar = {"output": {}}


class Finish(Complete):
    """How it ended, success or failure, and what came of it."""

    finish_state = Text(required=False)
    example: ClassVar = {"finish_state": "success", "output": {}}


class Retry(Plain):
    """What to try it with this time; without it, what it was tried with before."""

    input = serializers.JSONField(required=False)
    example: ClassVar = {"reason": ""}


class SetPriority(Plain):
    """How urgent it is, from 0 (most) to 10."""

    priority = Whole()
    example: ClassVar = {"priority": 5, "reason": ""}


class Comment(Plain):
    """What there is to say."""

    text = Text()
    example: ClassVar = {"text": ""}


class Properties(Strict):
    """What a task says of itself, whether it is made or updated."""

    name = Text(required=False, max_length=255)
    description = Text(required=False, allow_blank=True)
    custom_properties = Document(required=False)
    due_at = Moment(required=False, allow_null=True)
    priority = Whole(required=False)
    expires_at = Moment(required=False, allow_null=True)
    skippable = Flag(required=False)
    claim_while_on_hold = Flag(required=False)
    automatic_claim = Flag(required=False)
    input = serializers.JSONField(required=False)
    output_schema = Document(required=False, allow_null=True)


class Update(Properties, Plain):
    """The properties to be changed, each with its new value."""

    only_shown = frozenset(TaskDocument._declared_fields) | {"permitted_operations"}
    example: ClassVar = {"description": "", "reason": ""}

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        """The properties as one argument. Raises ValidationError where there are none."""
        properties = {name: value for name, value in values.items() if name in UPDATES}
        if not properties:
            raise ValidationError("Name at least one property to change.", "required")
        others = {name: value for name, value in values.items() if name not in UPDATES}
        return {**others, "values": properties}


class Base64(serializers.Field[Any, str, Any, Any]):
    """A file, written as base64 (RFC 4648, 4)."""

    default_error_messages: ClassVar[dict[str, Any]] = {"invalid": "This is not base64."}

    def to_internal_value(self, data: Any) -> File[bytes]:
        """The file."""
        if not isinstance(data, str):
            self.fail("invalid")
        try:
            return ContentFile(base64.b64decode(data, validate=True))
        except (binascii.Error, ValueError):
            self.fail("invalid")

    def to_representation(self, value: Any) -> Any:
        """Not answered with."""
        raise NotImplementedError


class Attach(Plain):
    """A file within JSON."""

    name = Text()
    content_type = Text(required=False)
    content = Base64()
    example: ClassVar = {"name": "", "content_type": "text/plain", "content": "", "reason": ""}


class Upload(serializers.Field[Any, Any, Any, Any]):
    """The part of a form that is a file."""

    default_error_messages: ClassVar[dict[str, Any]] = {"invalid": "Send exactly one file."}

    def to_internal_value(self, data: Any) -> File[bytes]:
        """The file."""
        if not isinstance(data, UploadedFile):
            self.fail("invalid")
        return data

    def to_representation(self, value: Any) -> Any:
        """Not answered with."""
        raise NotImplementedError


class AttachForm(Plain):
    """A file as browsers send it."""

    file = Upload()

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        """The file by its name and type, which came with it."""
        content = values.pop("file")
        values |= {"name": content.name, "content": content}
        if content.content_type:
            values["content_type"] = content.content_type
        return values


class UndoOperation(Plain):
    """Whether it is only to be foreseen."""

    dry_run = Flag(required=False)
    example: ClassVar = {"dry_run": True, "reason": ""}


class UndoAccount(UndoOperation):
    """Whose doing is put back, and from when to when."""

    actor = Text(max_length=150)
    from_ = Moment(source="from_")
    until = Moment()
    example: ClassVar = {
        "actor": "",
        "from": "2030-01-31T12:00:00Z",
        "until": "2030-01-31T13:00:00Z",
        "dry_run": True,
        "reason": "",
    }


INPUTS: Final[dict[str, type[Plain]]] = {
    "activate": Plain,
    "nominate": Nominate,
    "claim": Plain,
    "start": Plain,
    "stop": Plain,
    "release": Explained,
    "cancel_claim": Explained,
    "assign": Assign,
    "delegate": Assign,
    "forward": Forward,
    "transfer": Transfer,
    "suspend": Suspend,
    "suspend_and_release": SuspendAndRelease,
    "resume": Plain,
    "save_output": SaveOutput,
    "save_fault": Fault,
    "complete": Complete,
    "finish": Finish,
    "fail": Fault,
    "skip": Explained,
    "exit": Explained,
    "raise_error": Fault,
    "reopen": Explained,
    "retry": Retry,
    "update": Update,
    "set_priority": SetPriority,
    "comment": Comment,
    "attach": Attach,
    "grant": Grant,
    "revoke": Revoke,
    "remove": Explained,
}
"""The input of each operation; those of the system alone have none, and so no address."""


def _either(self: Strict, values: dict[str, Any]) -> dict[str, Any]:
    """The values of a call on many tasks. Raises ValidationError unless it says which."""
    if ("ids" in values) == ("filter" in values):
        raise ValidationError({"ids": ["Name the tasks by ids, or else by a filter."]}, "required")
    many = {name: values.pop(name) for name in MANY if name in values}
    validate: Any = super(type(self), self).validate
    return {**validate(values), **many}


MANY: Final = ("ids", "filter", "dry_run", "atomic")
"""What a call on many tasks says besides its operation's arguments."""


@cache  # so that operations that take the same are known to take the same
def _of_many(single: type[Plain]) -> type[Plain]:
    """The same input with the ids of the tasks."""
    return type(
        f"Bulk{single.__name__}",
        (single,),
        {
            "__doc__": single.__doc__,
            "ids": Ids(required=False),
            "filter": Document(required=False),
            "dry_run": Flag(required=False),
            "atomic": Flag(required=False),
            "validate": _either,
            "example": {"ids": [], **single.example},
        },
    )


BULK_INPUTS: Final[dict[str, type[Plain]]] = {
    name: _of_many(single) for name, single in INPUTS.items()
}
"""The same with the ids of the tasks."""

BulkAttachForm: Final = _of_many(AttachForm)
