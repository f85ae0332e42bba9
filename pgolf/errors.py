"""What can go wrong for a user of pgolf. Every error says what happened, in numbers, and what to do.

PgolfError
├── ConfigError           a field, recipe or override that cannot be used as written
├── DataError             input data that cannot be used
│   ├── DocumentError     a document that is not text (names file and line)
│   ├── ShardError        a token file that is not a challenge shard
│   ├── TokenizerError    a tokenizer that cannot be read, trained, or does not fit
│   └── FetchError        a published data set that cannot be downloaded as asked
├── TrainingError         training that cannot start or go on
│   └── NonFiniteLoss     the loss became NaN or infinite (names the step)
├── QuantizationError     weights or Hessians that cannot be quantized
├── BudgetExceeded        the smallest artifact is still over the byte budget
├── ArtifactError         a packed model file that cannot be decoded
├── StoreError            the artifact store cannot be read or written
│   └── StoreFull         no space left; nothing half-written stays behind
├── Stopped               a stage that was not started or not finished because its run is being ended
├── LaunchError           a child process (torchrun) failed, with its last lines
└── ResultsError          a result table that cannot be read or written
"""


class PgolfError(Exception):
    """Base of everything pgolf raises for its users; `exit_code` is what the command line returns for it."""

    exit_code = 2


class ConfigError(PgolfError, ValueError):
    """A field, recipe or override that cannot be used as written."""


class DataError(PgolfError, ValueError):
    """Input data that cannot be used."""


class DocumentError(DataError):
    """A document that is not text; the message names file and line."""


class ShardError(DataError):
    """A token file that is not a challenge shard."""


class TokenizerError(DataError):
    """A tokenizer that cannot be read, trained, or does not fit the data."""


class FetchError(DataError):
    """A published data set that cannot be downloaded as asked."""


class TrainingError(PgolfError):
    """Training that cannot start or go on."""

    exit_code = 1


class NonFiniteLoss(TrainingError):
    """The training loss became NaN or infinite."""


class QuantizationError(PgolfError):
    """Weights or Hessians that cannot be quantized."""

    exit_code = 1


class BudgetExceeded(PgolfError):
    """The smallest artifact the configuration allows is still over the byte budget."""

    exit_code = 1


class ArtifactError(PgolfError):
    """A packed model file that cannot be decoded."""


class StoreError(PgolfError):
    """The artifact store cannot be read or written."""


class StoreFull(StoreError):
    """No space left on the device that holds the store; nothing half-written stays behind."""


class LaunchError(PgolfError):
    """A child process failed; the message carries its last lines."""

    exit_code = 1


class Stopped(PgolfError):
    """A stage that was not started or not finished because its run is being ended."""

    exit_code = 143


class ResultsError(PgolfError):
    """A result table that cannot be read or written."""
