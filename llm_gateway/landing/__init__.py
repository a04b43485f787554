"""The page at `/`: what this is, and the portal of whoever is signed in for a tenant."""
