"""Depot: the control plane that spreads sessions over members with a programmable switch."""
