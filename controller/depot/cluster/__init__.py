"""The proxy cluster: members that know each other's connections (seed 000)."""
