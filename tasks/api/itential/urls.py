"""The paths of this face; like the server it stands in for it minds no slash at the end."""

from django.urls import re_path

from . import views

TASK = r"^operations-manager/tasks/(?P<task_id>[^/]+)"

urlpatterns = [
    re_path(r"^login/?\Z", views.Login.as_view()),
    re_path(r"^logout/?\Z", views.Logout.as_view()),
    re_path(r"^whoami/?\Z", views.WhoAmI.as_view()),
    re_path(rf"{TASK}/?\Z", views.GetTask.as_view()),
    re_path(rf"{TASK}/claim/?\Z", views.Claim.as_view()),
    re_path(rf"{TASK}/assign/?\Z", views.Assign.as_view()),
    re_path(rf"{TASK}/release/?\Z", views.Release.as_view()),
    re_path(r"^(operations-manager|login|logout|whoami)(/|\Z)", views.UnknownRoute.as_view()),
]
