"""Weight tiles as the beats that each family takes."""
