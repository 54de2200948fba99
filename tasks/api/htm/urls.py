"""The resources below /rest/bpm/htm/ (spec, section 1.1); any other path is answered here too."""

from django.urls import path, re_path

from .base import UnknownResource
from .views import BulkTaskRole, Task, TaskRole

urlpatterns = [
    path("v1/task/role/<str:role>", BulkTaskRole.as_view()),
    path("v1/task/<str:tkiid>", Task.as_view()),
    path("v1/task/<str:tkiid>/role/<str:role>", TaskRole.as_view()),
    re_path("", UnknownResource.as_view()),
]
