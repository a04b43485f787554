"""What the portal asks for."""

from django import forms

from tenants.fields import UsdFormField


class RaiseForm(forms.Form):
    """How much more for which budget, until when and why."""

    budget = forms.IntegerField(widget=forms.HiddenInput)
    amount = UsdFormField(label="US dollars on top of the limit")
    until = forms.DateTimeField(
        label="Until (UTC)", widget=forms.DateTimeInput({"type": "datetime-local"})
    )
    reason = forms.CharField(label="What for", max_length=500)
