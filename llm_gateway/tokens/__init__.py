"""How many tokens a request has: exact where the vocabulary is public, else estimated."""
