"""The project's own upstream provider: a process that answers, misbehaves and bills as told."""
