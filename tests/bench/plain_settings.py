"""The settings of the usual way: the project's, with Django's and DRF's ordinary parts."""

import importlib
import os
from typing import Any

_base: dict[str, Any] = vars(importlib.import_module(os.environ["BENCH_SETTINGS"]))
globals().update({name: value for name, value in _base.items() if name.isupper()})

ROOT_URLCONF = "tests.bench.plain"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
AUTHENTICATION_BACKENDS = [
    "accounts.backends.RoleBackend",
    "guardian.backends.ObjectPermissionBackend",
]
REST_FRAMEWORK: dict[str, Any] = {}
LOGGING: dict[str, Any] = {"version": 1}
