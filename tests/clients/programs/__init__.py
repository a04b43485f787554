"""A module for each client, written as its users write: only address and key are the gateway's."""
