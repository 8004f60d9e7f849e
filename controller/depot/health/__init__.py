"""Health of members: the state machine and the checks."""
