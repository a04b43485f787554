"""How people sign in: by password and second factor, by their company's provider, by invitation."""
