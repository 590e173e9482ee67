"""What every publishing process needs, imported once: they are forked from one that has imported this."""

import threading

import datasets  # noqa: F401
import huggingface_hub.hf_api  # noqa: F401
import pyarrow.parquet  # noqa: F401
import tqdm

import thermvision_db  # noqa: F401
from thermvision.curation import commands as curation_commands  # noqa: F401
from thermvision.curation import verify  # noqa: F401
from thermvision.dataset_card import commands as card_commands  # noqa: F401
from thermvision.dataset_card.publishing import publish, readback  # noqa: F401
from thermvision.generation import commands as generation_commands  # noqa: F401

tqdm.tqdm.set_lock(threading.RLock())  # one between processes would be left behind by those that are killed
