"""The paths of this face; like the server it stands in for it minds no slash at the end."""

from django.urls import re_path

from . import jobs, views

TASK = r"^operations-manager/tasks/(?P<task_id>[^/]+)"
JOB = r"^operations-manager/jobs/(?P<job_id>[^/]+)"

urlpatterns = [
    re_path(r"^login/?\Z", views.Login.as_view()),
    re_path(r"^logout/?\Z", views.Logout.as_view()),
    re_path(r"^whoami/?\Z", views.WhoAmI.as_view()),
    re_path(rf"{TASK}/?\Z", views.GetTask.as_view()),
    re_path(rf"{TASK}/claim/?\Z", views.Claim.as_view()),
    re_path(rf"{TASK}/assign/?\Z", views.Assign.as_view()),
    re_path(rf"{TASK}/release/?\Z", views.Release.as_view()),
    re_path(rf"{JOB}/?\Z", jobs.GetJob.as_view()),
    re_path(rf"{JOB}/tasks/(?P<task_id>[^/]+)/finish/?\Z", jobs.Finish.as_view()),
    re_path(rf"{JOB}/tasks/(?P<task_id>[^/]+)/retry/?\Z", jobs.Retry.as_view()),
    re_path(r"^(operations-manager|login|logout|whoami)(/|\Z)", views.UnknownRoute.as_view()),
]
