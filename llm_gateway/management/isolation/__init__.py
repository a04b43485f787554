"""Ask an installation, by every route, for what another tenant has."""
