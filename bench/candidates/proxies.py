"""Balancers that end the client's connection and make one of their own: HAProxy in TCP mode, nginx stream."""

from __future__ import annotations

from pathlib import Path

from bench.candidates.topology import MEMBERS, VIP, Candidate, member_address, wait_listening
from depot.demo.lab import missing_programs

__all__ = ["HaProxy", "NginxStream"]

_STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

_HAPROXY = """\
global
    maxconn 8000
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend web
    bind {vip}:80 backlog 4096
    default_backend members
backend members
    balance roundrobin
"""
_NGINX = """\
load_module {module};
daemon off;
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 8192; }}
stream {{
    upstream members {{
{members}
    }}
    server {{
        listen {vip}:80 backlog=4096;
        proxy_pass members;
    }}
}}
"""


class _Proxy(Candidate):
    """Has the VIP as an address of its own."""

    def serve(self, name: str, *argv: str) -> None:
        """Start the program with the balancer's addresses there."""
        self.route()
        self.lab.ip(self.balancer, f"address add {VIP}/32 dev lo")
        wait_listening(self.lab, self.lab.start(self.balancer, name, *argv))


class HaProxy(_Proxy):
    """As many threads as cores, which is its default."""

    title = "HAProxy, TCP mode"
    packages = ("haproxy",)

    @classmethod
    def missing(cls) -> str | None:
        return "haproxy is not on the PATH" if missing_programs(["haproxy"]) else None

    def balance(self) -> None:
        file = self.folder / "haproxy.cfg"
        servers = "".join(f"    server member{number} {member_address(number)}:80\n" for number in MEMBERS)
        file.write_text(_HAPROXY.format(vip=VIP) + servers)
        self.serve("haproxy", "haproxy", "-db", "-f", str(file))


class NginxStream(_Proxy):
    """As many workers as cores."""

    title = "nginx stream"
    packages = ("nginx", "libnginx-mod-stream")

    @classmethod
    def missing(cls) -> str | None:
        if missing_programs(["nginx"]):
            return "nginx is not on the PATH"
        return None if _STREAM_MODULE.is_file() else f"{_STREAM_MODULE} is not there"

    def balance(self) -> None:
        members = "\n".join(f"        server {member_address(number)}:80;" for number in MEMBERS)
        file = self.folder / "nginx.conf"
        file.write_text(_NGINX.format(module=_STREAM_MODULE, folder=self.folder, members=members, vip=VIP))
        self.serve("nginx-stream", "nginx", "-e", f"{self.folder}/error.log", "-p", str(self.folder), "-c", str(file))
