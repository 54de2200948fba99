"""The resources below /api/: tasks, what belongs to them, a route for each operation."""

import re

from django.urls import path, re_path

from tasks.actions import ACTIONS

from . import directory, docs, oauth, tokens
from .bulk import BulkOperationViewSet
from .feed import Events, HistoryViewSet
from .parts import PartViewSet
from .serializers import INPUTS
from .views import Root, TaskViewSet, nothing_here

app_name = "native"


def _told(name: str) -> tuple[str, str, str]:
    """An operation's part of the address, its words, and its sentence."""
    sentence = (ACTIONS[name].__doc__ or "").partition("\n")[0]
    sentence = re.sub(r" \((?:IBM|Itential)[^)]*\)", "", sentence)  # whence the core has it
    sentence = sentence.replace("from_", "from").replace("`", "")
    return name.replace("_", "-"), name.replace("_", " ").capitalize(), sentence


urlpatterns = [
    path("v1/", Root.as_view(), name="root"),
    path("v1/events/", Events.as_view(), name="events"),
    path(
        "v1/tasks/",
        TaskViewSet.as_view(
            {"get": "list", "post": "create"},
            name="Tasks",
            description="The tasks you may see; by view and filters, in an order of yours.",
        ),
        name="tasks",
    ),
    path(
        "v1/tasks/count/",
        TaskViewSet.as_view(
            {"get": "count"},
            name="Count",
            description="How many tasks a list has: exact to 10,000, beyond that an estimate.",
        ),
        name="count",
    ),
    path(
        "v1/tasks/summary/",
        TaskViewSet.as_view(
            {"get": "summary"},
            name="Summary",
            description="The tasks of a list by state, owner, group and age.",
        ),
        name="summary",
    ),
    path(
        "v1/tasks/claim-next/",
        TaskViewSet.as_view(
            {"post": "claim_next"},
            name="Claim next",
            description=(
                "Take the first free task of your worklist, or of what groups of yours may work on."
            ),
        ),
        name="claim-next",
    ),
    path(
        "v1/tasks/bulk/create/",
        TaskViewSet.as_view(
            {"post": "create_many"},
            name="Create: many tasks",
            description="Make tasks, all of them or none.",
        ),
        name="bulk-create",
    ),
]
BULK_OPERATIONS = {
    "": ({"get": "list"}, "Bulk operations", "What you did to many tasks at once, newest first."),
    "-undo-account": (
        {"post": "undo_account"},
        "Undo what an account did",
        "Put back what somebody did in a time, on the tasks you administer.",
    ),
}
OF_ONE = {
    "": ({"get": "retrieve"}, "Bulk operation", "What was asked, how far it is, what came of it."),
    "-items": ({"get": "items"}, "Its tasks", "What became of each, in the order given."),
    "-cancel": ({"post": "cancel"}, "Cancel", "Have no further unit of it carried out."),
    "-retry": ({"post": "retry"}, "Retry", "Do the same to the tasks that it refused."),
    "-undo": ({"post": "undo"}, "Undo", "Put back what it did, wherever it still stands."),
}
"""What there is of bulk operations: methods, name and sentence, by the end of the route's name."""

for end, (methods, name, description) in BULK_OPERATIONS.items():
    urlpatterns.append(
        path(
            f"v1/bulk-operations/{'undo/' if end else ''}",
            BulkOperationViewSet.as_view({**methods}, name=name, description=description),
            name=f"bulk-operations{end}",
        )
    )
for end, (methods, name, description) in OF_ONE.items():
    urlpatterns.append(
        path(
            f"v1/bulk-operations/<str:pk>/{end[1:] + '/' if end else ''}",
            BulkOperationViewSet.as_view({**methods}, name=name, description=description),
            name=f"bulk-operation{end}",
        )
    )
for operation in INPUTS:
    address, words, sentence = _told(operation)
    urlpatterns += [
        path(
            f"v1/tasks/bulk/{address}/",
            TaskViewSet.as_view(
                {"post": "operate_on_many"},
                operation=operation,
                name=f"{words}: many tasks",
                description=sentence,
            ),
            name=f"bulk-{address}",
        ),
        path(
            f"v1/tasks/<str:pk>/{address}/",
            TaskViewSet.as_view(
                {"post": "operate"}, operation=operation, name=words, description=sentence
            ),
            name=address,
        ),
    ]
PARTS = {
    "comments": ("Comments", "What was said about a task, oldest first."),
    "attachments": ("Attachments", "The files kept with a task, oldest first."),
    "subtasks": ("Subtasks", "The subtasks that you may see, newest first."),
}
"""The lists that belong to a task."""

urlpatterns += [
    path(
        f"v1/tasks/<str:pk>/{part}/",
        PartViewSet.as_view({"get": part}, name=name, description=description),
        name=part,
    )
    for part, (name, description) in PARTS.items()
]
urlpatterns += [
    path(
        "v1/tasks/<str:pk>/attachments/<str:number>/",
        PartViewSet.as_view({"get": "download"}, name="Attachment", description=""),
        name="attachment",
    ),
    path(
        "v1/tasks/<str:pk>/events/",
        HistoryViewSet.as_view(
            {"get": "events"},
            name="Events",
            description="What happened to the task, oldest first.",
        ),
        name="task-events",
    ),
    path(
        "v1/tasks/<str:pk>/permitted-operations/",
        PartViewSet.as_view(
            {"get": "permitted"},
            name="Permitted operations",
            description="Every operation: whether you may do it to the task now, or why not.",
        ),
        name="permitted-operations",
    ),
    path(
        "v1/tasks/<str:pk>/",
        TaskViewSet.as_view(
            {"get": "retrieve", "patch": "amend", "delete": "destroy"}, name="Task", description=""
        ),
        name="task",
    ),
]
urlpatterns += [
    *directory.urlpatterns,
    *tokens.urlpatterns,
    *oauth.urlpatterns,
    *docs.urlpatterns,
    re_path("", nothing_here),
]
