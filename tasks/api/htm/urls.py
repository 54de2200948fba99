"""The resources below /rest/bpm/htm/ (spec, section 1.1); any other path is answered here too."""

from django.urls import path, re_path

from . import views
from .base import UnknownResource
from .bulk import BulkTask, BulkTaskRole

urlpatterns = [
    path("v1/task", BulkTask.as_view()),
    path("v1/task/actions", views.Actions.as_view()),
    path("v1/task/role/<str:role>", BulkTaskRole.as_view()),
    path("v1/task/<str:tkiid>", views.Task.as_view()),
    *(
        path(f"v1/task/<str:tkiid>/{name}", views.Message.as_view(message=name))
        for name in ("input", "output", "fault")
    ),
    path("v1/task/<str:tkiid>/role/<str:role>", views.TaskRole.as_view()),
    path("v1/task/<str:tkiid>/subtasks", views.Subtasks.as_view()),
    path("v1/task/<str:tkiid>/history", views.History.as_view()),
    re_path("", UnknownResource.as_view()),
]
