"""`depot demo`: real clients, a real switch program and real web servers in network namespaces of this machine.

`lab` makes namespaces and processes and removes them, `network` joins them, `box` runs the depot (a switch and its
controller, as programs), `web` the nginx members, `clients` curl, wrk and a client with a stopwatch, `story` is what
happens, `screen` what is seen of it.
"""

from depot.demo.command import add_arguments, main, run

__all__ = ["add_arguments", "main", "run"]
