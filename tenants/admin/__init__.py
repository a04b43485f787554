"""The console's pages for people, tenants, money and the audit log: a module each."""

from tenants.admin import alerts, audit_log, integrity, ledger, people, raises, rules, tenancy

__all__ = ["alerts", "audit_log", "integrity", "ledger", "people", "raises", "rules", "tenancy"]
