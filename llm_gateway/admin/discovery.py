"""Try keys and discover models of a provider, from the console."""

class DiscoveryActions:
    pass
