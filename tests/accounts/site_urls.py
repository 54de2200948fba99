"""An admin site with the pages of the accounts app and nothing else of the project."""

from django.contrib import admin
from django.urls import path

from accounts.forms import LoginForm
from accounts.site import AccountSite


class OpenSite(AccountSite):
    """Lets every active account in."""

    login_form = LoginForm

    def has_permission(self, request):
        return request.user.is_active


site = OpenSite()
site._registry = {
    model: page
    for model, page in admin.site._registry.items()
    if model._meta.app_label == "accounts"
}
urlpatterns = [path("admin/", site.urls)]
