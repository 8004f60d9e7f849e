"""The network of one candidate, and the members that all have alike.

    client 10.1.0.2 -- 10.1.0.1 balancer 10.2.1.1 -- 10.2.1.2 member1
                                         10.2.2.1 -- 10.2.2.2 member2

Each host is a network namespace, each link a veth pair. Offloads are off at every end but for GRO at the hosts, without
which frames that XDP redirects to them would not arrive. The VIP is 192.0.2.80, port 80; client and members have the
balancer as their default route. Members are nginx with one worker that answers from memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from depot.demo.kernel import listens
from depot.demo.lab import Lab, LabError, Process, wait_until

__all__ = ["MEMBERS", "VIP", "Candidate", "Direct", "member_address"]

VIP = "192.0.2.80"
MEMBERS = (1, 2)
START_SECONDS = 20.0

_QUIET = {"ipv6/conf/all/disable_ipv6": 1, "ipv6/conf/default/disable_ipv6": 1}
_MANY_SESSIONS = {"ipv4/ip_local_port_range": '"1024 65535"', "ipv4/tcp_tw_reuse": 1}
"""For who opens sessions: one address is to open more in a second than it has ports."""
_MEMBER_CONFIGURATION = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type text/plain;
    server {{
        listen 80 backlog=4096;
        location / {{ return 200 "member{number}\\n"; }}
    }}
}}
"""


def member_address(number: int) -> str:
    """A member's address."""
    return f"10.2.{number}.2"


class Candidate(ABC):
    """Something that balances, in a network of its own; `start` makes both."""

    title: ClassVar[str]
    """What it is."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Debian packages it needs besides those of the tests."""

    def __init__(self, lab: Lab, short_name: str) -> None:
        """`short_name` begins the names of its namespaces and is unique in the lab."""
        self.lab = lab
        self.short_name = short_name

    @property
    def name(self) -> str:
        """As results name it: unique among the candidates of a run."""
        return self.title

    @property
    def target(self) -> str:
        """Address that the client asks."""
        return VIP

    @property
    def client(self) -> str:
        """The client's namespace."""
        return f"{self.short_name}-client"

    @property
    def balancer(self) -> str:
        """The balancer's namespace."""
        return f"{self.short_name}-balancer"

    @property
    def folder(self) -> Path:
        """For configuration."""
        return self.lab.folder / self.short_name

    def member(self, number: int) -> str:
        """A member's namespace."""
        return f"{self.short_name}-member{number}"

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """What of this machine it lacks; None if it can run."""

    @abstractmethod
    def balance(self) -> None:
        """Set up the balancer in its namespace; returns when it serves. Raises LabError."""

    def start(self) -> None:
        """Network, members, balancer; returns when the client has been served by every member. Raises LabError."""
        self.folder.mkdir()
        self.build()
        for number in MEMBERS:
            start_member(self.lab, self.member(number), number)
        self.balance()
        served: set[str] = set()

        def all_serve() -> bool:
            command = ["curl", "-s", "-m", "2", f"http://{self.target}/"]
            try:
                served.add(self.lab.run(self.client, *command).strip())
            except LabError:
                return False
            return len(served) == self.serving

        wait_until(all_serve, START_SECONDS, f"{self.name}: all members serve the client")

    @property
    def serving(self) -> int:
        """How many members the client gets to see."""
        return len(MEMBERS)

    def build(self) -> None:
        """Make the namespaces and join them. Raises LabError."""
        lab = self.lab
        lab.add_namespace(self.client, _QUIET | _MANY_SESSIONS)
        lab.add_namespace(self.balancer, _QUIET | _MANY_SESSIONS)
        self._join(self.client, "10.1.0", "clients")
        for number in MEMBERS:
            lab.add_namespace(self.member(number), _QUIET)
            self._join(self.member(number), f"10.2.{number}", f"member{number}")

    def _join(self, host: str, net: str, port: str) -> None:
        """Link a host to the balancer; only the host's end gets an address."""
        self.lab.add_link((host, "eth0"), (self.balancer, port))
        self.lab.run(host, "ethtool", "-K", "eth0", "gro", "on")
        self.lab.ip(self.balancer, f"link set {port} up")
        address, default = f"address add {net}.2/24 dev eth0", f"route add default via {net}.1"
        self.lab.ip(host, address, "link set eth0 up", default)

    def route(self) -> None:
        """Let the balancer's kernel be a router: addresses on its interfaces, packets forwarded."""
        self.lab.set(self.balancer, {"ipv4/ip_forward": 1})
        self.lab.ip(self.balancer, "address add 10.1.0.1/24 dev clients")
        for number in MEMBERS:
            self.lab.ip(self.balancer, f"address add 10.2.{number}.1/24 dev member{number}")


def start_member(lab: Lab, namespace: str, number: int) -> None:
    """nginx; returns when it listens. Raises LabError."""
    folder = lab.folder / namespace
    folder.mkdir()
    (folder / "nginx.conf").write_text(_MEMBER_CONFIGURATION.format(folder=folder, number=number))
    argv = ["nginx", "-e", f"{folder}/error.log", "-p", str(folder), "-c", f"{folder}/nginx.conf"]
    wait_listening(lab, lab.start(namespace, f"nginx-{namespace}", *argv))


def wait_listening(lab: Lab, process: Process) -> None:
    """Wait until a program serves at port 80. Raises LabError."""

    def ready() -> bool:
        lab.expect_running(process)
        return listens(process.pid, 80, 4)

    wait_until(ready, START_SECONDS, f"{process.name} listens")


class Direct(Candidate):
    """No balancer: the client is linked to one member. What the rest of the topology costs."""

    title = "no balancer"

    @property
    def target(self) -> str:
        return "10.1.0.1"

    @property
    def serving(self) -> int:
        return 1

    @classmethod
    def missing(cls) -> str | None:
        return None

    def build(self) -> None:
        self.lab.add_namespace(self.client, _QUIET | _MANY_SESSIONS)
        for number in MEMBERS:
            self.lab.add_namespace(self.member(number), _QUIET)
        first = self.member(MEMBERS[0])
        self.lab.add_link((self.client, "eth0"), (first, "eth0"))
        for host, address in ((self.client, "10.1.0.2"), (first, self.target)):
            self.lab.run(host, "ethtool", "-K", "eth0", "gro", "on")
            self.lab.ip(host, f"address add {address}/24 dev eth0", "link set eth0 up")

    def balance(self) -> None:
        return
