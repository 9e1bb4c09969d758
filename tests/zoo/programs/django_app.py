import os
import sys

from django.conf import settings

settings.configure(
    DEBUG=True, ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x", LOGGING_CONFIG=None
)
from django.http import HttpResponse
from django.urls import re_path

urlpatterns = [re_path("(.*)", lambda request, x: HttpResponse(f"{os.getpid()} {request.path}"))]
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line([sys.argv[0], *sys.argv[1:]])
