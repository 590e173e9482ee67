"""A Hub on this machine that the real `huggingface_hub` and `datasets` clients talk to, and its planned faults.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder, Hub(folder) as hub:
...     hub.url.split(":")[1]
'//127.0.0.1'
"""

from .client import child_environment, pointed_at
from .faults import KINDS, Fault, drawn
from .server import Hub
from .store import Account, Refused

__all__ = ["KINDS", "Account", "Fault", "Hub", "Refused", "child_environment", "drawn", "pointed_at"]
