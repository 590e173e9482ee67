"""ONNX models run by ONNX Runtime on the CPU: opened with a bound on their size, named by their digest.

A model's ``source`` is ``<file stem>@<first 12 hex digits of its SHA-256>``, which is what ``annotation_source`` holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, UsageError
from thermvision.annotations.models import SHIPPED

REINSTALL = "pip install --force-reinstall thermvision-db"
MAX_BYTES = 512 * 2**20
DIGEST_DIGITS = 12


def short_digest(content: bytes) -> str:
    """The first `DIGEST_DIGITS` hex digits of a file's SHA-256, which tell models of one name apart."""
    return hashlib.sha256(content).hexdigest()[:DIGEST_DIGITS]


class Model:
    """A network in memory. It can be pickled, and is then opened again from its file, which must still be the same.

    Attributes:
        source: name and digest.
        inputs, outputs: shapes by name, in the graph's order; a dimension that is free is a string or None.
        metadata: the key-value pairs that the file carries.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        content, name = path.read_bytes(), path.stem
        self._path, self._threads = path, threads
        if threads < 1:
            raise UsageError(f"threads is {threads}; allowed: 1 or more")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # warnings about the graph's author mean nothing to its user
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
            reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
            raise DamagedInputError(
                f"{name} cannot be opened as an ONNX model: {reason}; allowed: one .onnx file without external data"
            ) from error
        self.source = f"{name}@{short_digest(content)}"
        self.inputs: dict[str, list[int | str | None]] = {i.name: list(i.shape) for i in self._session.get_inputs()}
        self.outputs: dict[str, list[int | str | None]] = {o.name: list(o.shape) for o in self._session.get_outputs()}
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def __reduce__(self) -> tuple[Any, ...]:
        # a session cannot travel to another process, its file can be opened there
        return _again, (self._path, self._threads, self.source)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """All outputs by name.

        Raises:
            UsageError: the network refuses the inputs, or what it computes from them.
        """
        try:
            values = self._session.run(None, dict(inputs))
        except Exception as error:
            given = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in inputs.items())
            raise UsageError(
                f"{self.source} refused {given}: {str(error).splitlines()[0][:300]}; its inputs: {self.inputs}"
            ) from error
        return dict(zip(self.outputs, values, strict=True))

    def require(self, inputs: Iterable[str], outputs: Iterable[str], purpose: str) -> None:
        """Make sure that the graph has inputs and outputs of these names.

        Raises:
            UsageError: one is missing.
        """
        for kind, wanted, seen in (("inputs", inputs, self.inputs), ("outputs", outputs, self.outputs)):
            wanted = tuple(wanted)
            if missing := [name for name in wanted if name not in seen]:
                raise UsageError(
                    f"{self.source} has the {kind} {', '.join(seen)}, but {purpose} needs {', '.join(missing)}; "
                    f"allowed: {', '.join(wanted)}; choose another file"
                )


def open_model(path_or_name: str | Path, threads: int = 1) -> Model:
    """Open one of the shipped models by its name (`SHIPPED`), or any ``.onnx`` file by its path.

    Args:
        path_or_name: name or path.
        threads: threads that one run of the network may use.

    Raises:
        MissingDependencyError: there is no such file.
        DamagedInputError: it is no ONNX model, or larger than `MAX_BYTES`.
        UsageError: ``threads`` is below 1.
    """
    shipped = str(path_or_name) in SHIPPED
    path = _shipped_path(str(path_or_name)) if shipped else Path(path_or_name).expanduser()
    if not path.is_file():
        if shipped:
            raise MissingDependencyError(f"the model file {path} is not there; type: {REINSTALL}")
        raise MissingDependencyError(
            f"{path} is no model file; allowed: a path to an .onnx file, or one of {', '.join(SHIPPED)}; "
            "fetch the file and give its path"
        )
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise DamagedInputError(f"{path} has {size} bytes; allowed: up to {MAX_BYTES}; choose another model")
    return Model(path, threads)


def _again(path: Path, threads: int, source: str) -> Model:
    model = open_model(path, threads)
    if model.source != source:
        raise DamagedInputError(f"{path} was {source} and is {model.source} now; start again with the file you mean")
    return model


def _shipped_path(name: str) -> Path:
    return Path(str(files("thermvision.annotations.models").joinpath(f"{name}.onnx")))
