"""The gateway's own abilities as tools for agents, in the words of the Model Context Protocol."""
