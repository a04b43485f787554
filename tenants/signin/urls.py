"""Route the pages of signing in."""

from django.urls import path

from tenants.signin import own_views as own
from tenants.signin import sso_views, views
from tenants.signin.invitation_views import InvitationView
from tenants.signin.reset_views import ForgottenView, ResetView
from tenants.signin.sso import CALLBACK

urlpatterns = [
    path("", views.SignInView.as_view(), name="sign-in"),
    path("code/", views.CodeView.as_view(), name="sign-in-code"),
    path("sso/", sso_views.SsoView.as_view(), name="sign-in-sso"),
    path("sso/callback/", sso_views.SsoCallbackView.as_view(), name=CALLBACK),
    path("invitation/<uidb64>/<token>/", InvitationView.as_view(), name="sign-in-invitation"),
    path("forgotten/", ForgottenView.as_view(), name="sign-in-forgotten"),
    path("reset/<uidb64>/<token>/", ResetView.as_view(), name="sign-in-reset"),
    path("out/", views.SignOutView.as_view(), name="sign-out"),
    path("mine/", own.MineView.as_view(), name="sign-in-mine"),
    path("mine/password/", own.PasswordView.as_view(), name="sign-in-password"),
    path("mine/second-factor/", own.SecondFactorView.as_view(), name="sign-in-second-factor"),
    path(
        "mine/second-factor/remove/",
        own.RemoveSecondFactorView.as_view(),
        name="sign-in-remove-second-factor",
    ),
    path("mine/recovery-codes/", own.RecoveryCodesView.as_view(), name="sign-in-recovery-codes"),
    path("mine/elsewhere/", own.ElsewhereView.as_view(), name="sign-in-elsewhere"),
]
