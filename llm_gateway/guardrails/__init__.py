"""Look at what is asked and answered for what a tenant does not let through.

`guard` says what a tenant's rules are together; `redaction` is also what logged contents go by.
"""
