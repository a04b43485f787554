"""Answer questions about what was spent: usage, forecasts, advice, retention and invoices."""
