"""The console's pages for people, tenants, money and the audit log: a module each."""

from tenants.admin import audit_log, ledger, people, rules, tenancy

__all__ = ["audit_log", "ledger", "people", "rules", "tenancy"]
