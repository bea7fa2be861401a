"""``theano.misc.pkl_utils``: objects pickled into a zip file, each array in a member of its own.

The member ``pkl`` is the pickle, in which names stand for the arrays. `numpy.load` opens such a
file: the values of named shared variables lie under these names.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import IO, Any

import numpy as np

from ltensor.ir.graph import Scratchpad
from ltensor.shared import SharedVariable

__all__ = [
    "PersistentCudaNdarrayID",
    "PersistentGpuArrayID",
    "PersistentNdarrayID",
    "PersistentNdarrayLoad",
    "PersistentSharedVariableID",
    "StripPickler",
    "dump",
    "load",
    "zipadd",
]

DEFAULT_PROTOCOL = pickle.DEFAULT_PROTOCOL
_PICKLE = "pkl"


class StripPickler(pickle.Pickler):
    """A pickler that leaves out some of what hangs on variables.

    Parameters
    ----------
    file : binary file
    protocol : int
    extra_tag_to_remove : sequence of str, optional
        Attributes of ``variable.tag`` that are left out, besides ``trace`` and ``test_value``.
    """

    def __init__(
        self, file: Any, protocol: int = 0, extra_tag_to_remove: Sequence[str] | None = None
    ) -> None:
        super().__init__(file, protocol)
        self.tag_to_remove = ["trace", "test_value", *(extra_tag_to_remove or ())]

    def reducer_override(self, obj: Any) -> Any:
        """How an object is pickled; NotImplemented: as always."""
        if not isinstance(obj, Scratchpad):
            return NotImplemented
        kept = {k: v for k, v in vars(obj).items() if k not in self.tag_to_remove}
        return Scratchpad, (), kept


class PersistentNdarrayID:
    """Puts arrays into members of a zip file, and tells the pickle their names.

    Parameters
    ----------
    zip_file : zipfile.ZipFile
    """

    def __init__(self, zip_file: zipfile.ZipFile) -> None:
        self.zip_file = zip_file
        self.count = 0
        self.seen: dict[int, str] = {}
        # What is numbered by its address must not be freed meanwhile.
        self._alive: list[Any] = []

    def _resolve_name(self, obj: np.ndarray) -> str:
        name = f"array_{self.count}"
        self.count += 1
        return name

    def __call__(self, obj: Any) -> str | None:
        """The name that stands for ``obj`` in the pickle; None if it is pickled itself."""
        if type(obj) is not np.ndarray or obj.dtype.hasobject:
            return None
        if id(obj) not in self.seen:
            name = self._resolve_name(obj)
            zipadd(lambda f: np.lib.format.write_array(f, obj), self.zip_file, name)
            self.seen[id(obj)] = f"ndarray.{name}"
            self._alive.append(obj)
        return self.seen[id(obj)]


#: There are no other arrays than NumPy's.
PersistentGpuArrayID = PersistentCudaNdarrayID = PersistentNdarrayID


class PersistentSharedVariableID(PersistentNdarrayID):
    """Names the members of the zip file by the shared variables whose values they hold.

    Parameters
    ----------
    zip_file : zipfile.ZipFile
    allow_unnamed : bool
        Whether shared variables may have no name.
    allow_duplicates : bool
        Whether several may have the same one; they are numbered: ``x``, ``x_2``.

    Raises
    ------
    ValueError
        When called with a shared variable that is not allowed.
    """

    def __init__(
        self, zip_file: zipfile.ZipFile, allow_unnamed: bool = True, allow_duplicates: bool = True
    ) -> None:
        super().__init__(zip_file)
        self.name_counter: defaultdict[str, int] = defaultdict(int)
        self.ndarray_names: dict[int, str] = {}
        self.allow_unnamed = allow_unnamed
        self.allow_duplicates = allow_duplicates

    def _resolve_name(self, obj: np.ndarray) -> str:
        name = self.ndarray_names.get(id(obj))
        if name is None:
            return super()._resolve_name(obj)
        self.name_counter[name] += 1
        count = self.name_counter[name]
        if count == 1:
            return name
        if not self.allow_duplicates:
            raise ValueError(f"multiple shared variables with the name `{name}` found")
        return f"{name}_{count}"

    def __call__(self, obj: Any) -> str | None:
        if isinstance(obj, SharedVariable):
            if obj.name == _PICKLE:
                raise ValueError(f"can't pickle shared variable with name `{_PICKLE}`")
            if obj.name:
                value = obj.container.storage[0]
                self.ndarray_names[id(value)] = obj.name
                self._alive.append(value)
            elif not self.allow_unnamed:
                raise ValueError(f"unnamed shared variable, {obj}")
        return super().__call__(obj)


class PersistentNdarrayLoad:
    """Reads the arrays that a pickle names from their zip file, each once.

    Parameters
    ----------
    zip_file : zipfile.ZipFile
    """

    def __init__(self, zip_file: zipfile.ZipFile) -> None:
        self.zip_file = zip_file
        self.cache: dict[str, np.ndarray] = {}

    def __call__(self, persid: str) -> np.ndarray:
        """The array of a name that `PersistentNdarrayID` gave."""
        name = persid.partition(".")[2]
        if name not in self.cache:
            with self.zip_file.open(name) as f:
                self.cache[name] = np.lib.format.read_array(f)
        return self.cache[name]


class _Pickler(pickle.Pickler):
    # Python 3.13 does not let an instance have a method of its own.
    def __init__(self, file: IO[bytes], protocol: int, name_of: Callable[[Any], Any]) -> None:
        super().__init__(file, protocol=protocol)
        self.name_of = name_of

    def persistent_id(self, obj: Any) -> Any:
        return self.name_of(obj)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], find: Callable[[Any], Any]) -> None:
        super().__init__(file)
        self.find = find

    def persistent_load(self, pid: Any) -> Any:
        return self.find(pid)


def dump(
    obj: Any,
    file_handler: Any,
    protocol: int = DEFAULT_PROTOCOL,
    persistent_id: Callable[[zipfile.ZipFile], Any] = PersistentSharedVariableID,
) -> None:
    """Pickle an object into a zip file.

    Parameters
    ----------
    obj : object
    file_handler : binary file
    protocol : int
        The pickle's.
    persistent_id : callable
        From the zip file to what puts objects into members of their own.
    """
    with zipfile.ZipFile(file_handler, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as zip_file:
        text = io.BytesIO()
        _Pickler(text, protocol, persistent_id(zip_file)).dump(obj)
        zipadd(lambda f: f.write(text.getvalue()), zip_file, _PICKLE)


def load(f: Any, persistent_load: Callable[[zipfile.ZipFile], Any] = PersistentNdarrayLoad) -> Any:
    """The object of a zip file that `dump` wrote.

    Parameters
    ----------
    f : binary file
        A pickle can run any code when it is read: only files that can be trusted.
    persistent_load : callable
        From the zip file to what reads objects from their members.
    """
    with zipfile.ZipFile(f, "r") as zip_file:
        return _Unpickler(io.BytesIO(zip_file.read(_PICKLE)), persistent_load(zip_file)).load()


def zipadd(func: Callable[[IO[bytes]], Any], zip_file: zipfile.ZipFile, name: str) -> None:
    """Write a member of a zip file.

    Parameters
    ----------
    func : callable
        Gets a binary file to write to.
    zip_file : zipfile.ZipFile
    name : str
        The member's.
    """
    member = io.BytesIO()
    func(member)
    zip_file.writestr(name, member.getvalue())
