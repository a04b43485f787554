"""The real processes, servers and databases that tests run against, and how they are broken."""
