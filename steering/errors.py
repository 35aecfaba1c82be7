"""The errors Tiller raises when the person or the world is wrong.

    TillerError
    ├── InputError              what a person gave cannot be used (exit code 2)
    │   ├── SettingsError       an option, environment variable or TOML file
    │   ├── BlendError          weights or exponents
    │   ├── SamplingError       temperature, top-p, seed, …
    │   └── PromptError         messages, prompt length
    ├── LoadError               a base model or guide cannot be loaded
    │   └── VocabularyError     a guide's vocabulary is not the base's
    ├── CapacityError           memory or slots have run out
    │   └── BusyError           too many others are waiting
    └── StorageError            the database cannot be read or written
        ├── SchemaError         the database has another schema version
        └── NotFoundError       no record with that id

Each carries a ``hint``: what to do next. ``assert`` is for "the code is wrong", these are for everything else.
"""


class TillerError(Exception):
    """Base of every error meant for a person.

    ``message`` says what was got and what is allowed; ``hint`` says what to do next. ``str()`` gives both.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InputError(TillerError):
    """What a person gave cannot be used."""


class SettingsError(InputError):
    """An option, an environment variable or a configuration file is wrong."""


class BlendError(InputError):
    """A blend names an unknown dimension or has an exponent that cannot be mixed."""


class SamplingError(InputError):
    """A sampling setting is outside its range."""


class PromptError(InputError):
    """The messages cannot be turned into a prompt, or the prompt is too long."""


class LoadError(TillerError):
    """A base model or a guide cannot be loaded."""


class VocabularyError(LoadError):
    """A guide's vocabulary does not match the base model's."""


class CapacityError(TillerError):
    """Memory or slots have run out."""


class BusyError(CapacityError):
    """Too many others are waiting; the same request can be made again later."""


class StorageError(TillerError):
    """The database cannot be read or written."""


class SchemaError(StorageError):
    """The database was written by another version of the schema."""


class NotFoundError(StorageError):
    """There is no record with that id."""
