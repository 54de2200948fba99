"""What goes in and out of this face: strict input for each operation, and documents."""

from .creation import NewTask, NewTasks, Related
from .documents import AttachmentDocument, CommentDocument, documents, operation_url, task_url
from .fields import Strict
from .inputs import (
    BULK_INPUTS,
    INPUTS,
    AttachForm,
    BulkAttachForm,
    ClaimNext,
    Plain,
    UndoAccount,
    UndoOperation,
)

__all__ = [
    "BULK_INPUTS",
    "INPUTS",
    "AttachForm",
    "AttachmentDocument",
    "BulkAttachForm",
    "ClaimNext",
    "CommentDocument",
    "NewTask",
    "NewTasks",
    "Plain",
    "Related",
    "Strict",
    "UndoAccount",
    "UndoOperation",
    "documents",
    "operation_url",
    "task_url",
]
