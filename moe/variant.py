"""A variant: an implementation with options, and how it is written."""

import re
from dataclasses import dataclass, field

# "path/to/file.py:ClassName", whatever characters the path has
OWN_FILE = re.compile(r"(?P<path>.*\.py):(?P<cls>\w+)", re.DOTALL)
# That or "name", or either with options: "name[key=value,…]"
WRITTEN = re.compile(
    r"(?:(?P<file>.*\.py:\w+)|\s*(?P<name>[^\s\[\]][^\[\]]*?))(?:\[(?P<options>[^\[\]]*)\])?\s*", re.DOTALL
)


@dataclass(frozen=True)
class Variant:
    """An implementation with options, written `name[key=value,…]`."""

    name: str
    options: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        options = ",".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.name}[{options}]" if options else self.name

    @property
    def device(self) -> str:
        """The device that its options name."""
        return self.options.get("device", "cpu")

    @classmethod
    def read(cls, text: str) -> "Variant":
        """A variant as it is written; whether it exists is not looked at. Raises ValueError for another form."""
        match = WRITTEN.fullmatch(text)
        if match is None:
            raise ValueError(f"implementation must look like name or name[key=value,…], got {text!r}")
        options = {}
        for part in filter(None, (match["options"] or "").split(",")):
            key, equals, value = (piece.strip() for piece in part.partition("="))
            if not (key and equals and value):
                raise ValueError(f"option must look like key=value, got {part!r} in {text!r}")
            options[key] = value
        return cls(match["file"] or match["name"], options)
