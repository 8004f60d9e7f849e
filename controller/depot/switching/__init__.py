"""Sessions and schedules: which member gets the next session, and what becomes of each."""
