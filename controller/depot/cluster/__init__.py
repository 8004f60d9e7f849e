"""The proxy cluster: members that know each other's connections (seed 000). `Mesh` is the core of one member.

A shell moves the bytes and arms one timer:

    mesh = Mesh("edge-1", [PeerSettings("edge-2")], random.random, clock())
    mesh.handle_timer(clock())                 # calls the peers
    # after this and every other call:
    for event in mesh.take_events(): ...       # OpenChannel, CloseChannel: orders; the others: news
    for number in mesh.take_writable(clock()):
        sockets[number].write(mesh.data_to_send(number, room))  # again when there is room
    call_at(mesh.next_deadline(), mesh.handle_timer)
"""

from depot.cluster.database import Claim, ConnectionDatabase, OwnConnections
from depot.cluster.errors import ClusterError, ErrorCode, describe_code
from depot.cluster.events import (
    CloseChannel,
    ClusterEvent,
    ConnectionsForgotten,
    ConnectionsLearnt,
    OpenChannel,
    PeerDown,
    PeerLost,
    PeerUp,
    StrangerTurnedAway,
    SyncChanged,
)
from depot.cluster.mesh import Mesh
from depot.cluster.peers import PeerView
from depot.cluster.settings import PeerSettings
from depot.cluster.states import ChannelState, CloseReason
from depot.cluster.statistics import COUNTERS, ClusterStatistics, Counter
from depot.cluster.wire import ConnectionAction, flow_of, key_of

__all__ = [
    "COUNTERS",
    "ChannelState",
    "Claim",
    "CloseChannel",
    "CloseReason",
    "ClusterError",
    "ClusterEvent",
    "ClusterStatistics",
    "ConnectionAction",
    "ConnectionDatabase",
    "ConnectionsForgotten",
    "ConnectionsLearnt",
    "Counter",
    "ErrorCode",
    "Mesh",
    "OpenChannel",
    "OwnConnections",
    "PeerDown",
    "PeerLost",
    "PeerSettings",
    "PeerUp",
    "PeerView",
    "StrangerTurnedAway",
    "SyncChanged",
    "describe_code",
    "flow_of",
    "key_of",
]
