"""The running controller: switches, checks, schedules, the command line's socket and metrics on one event loop."""
