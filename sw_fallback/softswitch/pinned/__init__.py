"""`--pin`: what keeps packets moving without a process, and all that the next process needs to go on (bpffs pins).

    PATH/links/INTERFACE        the program's attachment; a dot in the name is a colon here
    PATH/NUMBER/maps/NAME       the maps of a program's memory
    PATH/NUMBER/ledgers/STEM    `memory/ledger.py`
    PATH/NUMBER/journal         what clients wrote and maps do not hold: `journal.py`
    PATH/NUMBER/program         the forwarding pipeline config, and the description of the memory

A program is pinned under the next number, `program` last; then the links are switched over, then the folder of the
one before goes. So there is a whole one at every moment, and the highest that is whole is the one to go on with.
"""

from softswitch.pinned.folder import Generation, PinError, PinFolder
from softswitch.pinned.keeper import Keeper

__all__ = ["Generation", "Keeper", "PinError", "PinFolder"]
