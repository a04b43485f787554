"""Look after prices: who has none, what a feed would change, what a correction changes."""
