"""The resources below /api/: tasks, what belongs to them, a route for each operation."""

from django.urls import path, re_path

from tasks.actions import ACTIONS

from . import directory, oauth, tokens
from .feed import Events, HistoryViewSet
from .parts import PartViewSet
from .serializers import INPUTS
from .views import Root, TaskViewSet, nothing_here

app_name = "native"


def _told(name: str) -> tuple[str, str, str]:
    """An operation's part of the address, its words, and its sentence."""
    sentence = (ACTIONS[name].__doc__ or "").partition("\n")[0]
    return name.replace("_", "-"), name.replace("_", " ").capitalize(), sentence


urlpatterns = [
    path("v1/", Root.as_view(), name="root"),
    path("v1/events/", Events.as_view(), name="events"),
    path(
        "v1/tasks/",
        TaskViewSet.as_view(
            {"get": "list", "post": "create"},
            name="Tasks",
            description="The tasks you may see; by state, owner and view, in an order of yours.",
        ),
        name="tasks",
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
]
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
    re_path("", nothing_here),
]
