"""What others build on, run before the gateway as their users run it."""
