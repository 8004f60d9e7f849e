"""P4Runtime as the controller speaks it: entries as plain values, their codec, reconciliation, and the client."""
