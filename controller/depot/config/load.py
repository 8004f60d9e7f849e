"""One TOML file to one checked `Config`, or one `ConfigError` with everything that is wrong."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path

from depot.config.cluster_consistency import check_cluster
from depot.config.cluster_tables import ClusterDraft, read_cluster, read_policy
from depot.config.consistency import check_consistency
from depot.config.locate import locate_keys
from depot.config.model import Config, VipConfig
from depot.config.problems import ConfigError, Problem, ProblemList
from depot.config.reader import TableReader
from depot.config.tables import SwitchDraft, VipDraft, read_depot, read_switch, read_vip
from depot.config.vmac_model import DispatchMode, VmacConfig
from depot.config.vmac_tables import check_vmac, read_vmac

__all__ = ["load", "parse"]

_PLACE = re.compile(r"\s*\(at line (\d+), column (\d+)\)$")


def load(path: Path) -> Config:
    """Read and check a file, and look whether the TLS files it names are there.

    Relative paths inside it start at its folder. Raises ConfigError with every problem found; a file that cannot be
    read is one of them.
    """
    source = str(path)
    try:
        document = path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(source, (Problem(0, "", f"cannot be read: {error.strerror}"),)) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(source, (Problem(line, "", "is not UTF-8, as TOML must be"),)) from None
    return _Document(document, source).config(path.parent, look_for_files=True)


def parse(document: str, source: str = "config", base: Path = Path()) -> Config:
    """Like `load` for a text in memory, without a look at any file.

    `source` names the text in errors; relative paths inside it start at `base`. Raises ConfigError.
    """
    return _Document(document, source).config(base, look_for_files=False)


class _Document:
    def __init__(self, document: str, source: str) -> None:
        self._source = source
        document = document.replace("\r\n", "\n")
        try:
            self._root = tomllib.loads(document)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(source, (_syntax_problem(str(error), document),)) from None
        self._problems = ProblemList(locate_keys(document))

    def config(self, base: Path, look_for_files: bool) -> Config:
        root = TableReader(self._root, (), self._problems)
        depot = read_depot(root.table("depot"), base)
        switches = [draft for part in root.tables("switch") if (draft := read_switch(part, base))]
        vips = [service for part in root.tables("vip") if (service := read_vip(part))]
        cluster = read_cluster(root.table("cluster"), base)
        policies = [rule for part in root.tables("policy") if (rule := read_policy(part))]
        gateways = read_vmac(root.table("vmac"), base)
        root.finish()
        if not root.has("switch"):
            self._problems.add((), "there is no switch; add [[switch]] with its name and address")
        check_consistency(switches, vips, self._problems)
        check_cluster(cluster, policies, switches, vips, self._problems, is_alone=not root.has("cluster"))
        vmac = check_vmac(gateways, switches, self._problems)
        if look_for_files:
            self._look_for_tls_files(switches)
            self._look_for_key(vmac)
            self._look_for_certificates(cluster)
        if found := self._problems.in_order():
            raise ConfigError(self._source, found)
        return Config(
            depot,
            tuple(draft.switch for draft in switches),
            tuple(_shared_or_not(draft, cluster) for draft in vips),
            None if cluster is None else cluster.cluster,
            tuple(draft.policy for draft in policies),
            vmac,
        )

    def _look_for_tls_files(self, switches: list[SwitchDraft]) -> None:
        for draft in switches:
            if tls := draft.switch.tls:
                for key, path in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
                    if path is not None and not path.is_file():
                        self._problems.add((*draft.path, "tls", key), f"there is no file {path}")

    def _look_for_certificates(self, draft: ClusterDraft | None) -> None:
        if draft is not None:
            for key in ("ca", "cert", "key"):
                path: Path | None = getattr(draft.cluster, key)
                if path is not None and not path.is_file():
                    message = f"there is no file {path}; `depot cluster init` makes the certificates of all members"
                    self._problems.add((*draft.path, key), message)

    def _look_for_key(self, vmac: VmacConfig | None) -> None:
        if vmac is not None and vmac.mode is DispatchMode.SELF and not vmac.key.is_file():
            message = f"there is no file {vmac.key}; `depot vmac init` makes the key that all gateways share"
            self._problems.add(("vmac", "key"), message)


def _shared_or_not(draft: VipDraft, cluster: ClusterDraft | None) -> VipConfig:
    """Every VIP is the whole cluster's, unless the file says otherwise."""
    return replace(draft.vip, shared=cluster is not None and draft.says_shared is not False)


def _syntax_problem(message: str, document: str) -> Problem:
    place = _PLACE.search(message)
    if place is None:
        return Problem(document.count("\n") + 1, "", f"is not TOML: {message}")
    return Problem(int(place[1]), "", f"is not TOML: {message[: place.start()]} (column {place[2]})")
