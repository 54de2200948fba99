"""Where each face is found; one include for each."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    path("api/", include("tasks.api.native.urls")),
    path("problems/", include("tasks.api.native.problems")),
    path("rest/bpm/htm/", include("tasks.api.htm.urls")),
    path("", include("tasks.api.itential.urls")),
]

handler400 = "taskmanager.errors.bad_request"
handler403 = "taskmanager.errors.forbidden"
handler404 = "taskmanager.errors.not_found"
handler500 = "taskmanager.errors.server_error"
