"""The WSGI application that the server runs."""

import os

from django.core.wsgi import get_wsgi_application

from tasks.api.middleware import keep_raw

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taskmanager.settings")
application = keep_raw(get_wsgi_application())
