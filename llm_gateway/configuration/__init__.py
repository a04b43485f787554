"""Configuration as code: a file and the database, made equal in either direction."""
