"""What a run does when something goes wrong: stop at once, say where, leave all that is needed to see it again."""
