"""The resources below /api/: tasks, a route for each operation of the core, and nothing else."""

from django.urls import path, re_path

from tasks.actions import ACTIONS

from .views import Root, TaskViewSet, nothing_here

app_name = "native"


def _told(name: str) -> tuple[str, str, str]:
    """An operation's part of the address, its words, and its sentence."""
    sentence = (ACTIONS[name].__doc__ or "").partition("\n")[0]
    return name.replace("_", "-"), name.replace("_", " ").capitalize(), sentence


urlpatterns = [
    path("v1/", Root.as_view(), name="root"),
    path(
        "v1/tasks/",
        TaskViewSet.as_view(
            {"get": "list", "post": "create"},
            name="Tasks",
            description="The tasks you may see, newest first; filter by state, owner and view.",
        ),
        name="tasks",
    ),
]
for operation in ACTIONS:
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
urlpatterns += [
    path(
        "v1/tasks/<str:pk>/",
        TaskViewSet.as_view({"get": "retrieve"}, name="Task", description=""),
        name="task",
    ),
    re_path("", nothing_here),
]
