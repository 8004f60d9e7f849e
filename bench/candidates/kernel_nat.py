"""The kernel as balancer: nftables chooses a member for a connection's first packet, conntrack does the rest."""

from __future__ import annotations

from bench.candidates.topology import MEMBERS, VIP, Candidate, member_address
from depot.demo.lab import LabError, missing_programs

__all__ = ["Nftables"]

_TIME_WAIT = 5
"""Seconds conntrack keeps an ended connection: with the 120 of old its table would be full in the first round."""


class Nftables(Candidate):
    """DNAT by turns (`numgen inc`)."""

    title = "nftables DNAT"
    packages = ("nftables",)

    @classmethod
    def missing(cls) -> str | None:
        return "nft is not on the PATH" if missing_programs(["nft"]) else None

    def balance(self) -> None:
        self.route()
        members = ", ".join(f"{slot} : {member_address(number)}" for slot, number in enumerate(MEMBERS))
        rules = self.folder / "rules.nft"
        rules.write_text(
            "table ip balance {\n"
            "    chain prerouting {\n"
            "        type nat hook prerouting priority dstnat;\n"
            f"        ip daddr {VIP} tcp dport 80 dnat to numgen inc mod {len(MEMBERS)} map {{ {members} }}\n"
            "    }\n"
            "}\n"
        )
        try:
            self.lab.run(self.balancer, "nft", "-f", str(rules))
        except LabError as error:
            raise LabError(f"this kernel lacks something that nftables needs: {error}") from error
        self.lab.set(self.balancer, {"netfilter/nf_conntrack_tcp_timeout_time_wait": _TIME_WAIT})
