"""Exceptions that pgolf raises for its users. Each message says what happened, in numbers, and what to do.

PgolfError
├── ConfigError           a field, recipe or override is invalid
├── DataError             input data is missing, damaged or does not fit
│   ├── DocumentError     a document is not text (names file and line)
│   ├── ShardError        a token file is not a challenge shard
│   ├── TokenizerError    a tokenizer cannot be read or trained, or does not fit the data
│   └── FetchError        a published data set cannot be downloaded as requested
│       └── DownloadFailed      the connection failed; it may not the next time
├── TrainingError         training cannot start or continue
│   └── NonFiniteLoss     the loss became NaN or infinite (names the step)
├── RanksDiffer           the ranks of a training hold different weights; it may not happen again
├── QuantizationError     weights or Hessians cannot be quantized
├── BudgetExceeded        even the smallest artifact is over the byte budget
├── ArtifactError         a packed model file cannot be decoded
├── StoreError            the artifact store cannot be read or written
│   ├── StoreFull         no space left; nothing half-written remains
│   ├── StoreUnreadable   what is there cannot be read, which is no damage
│   └── StoreUnreachable  the service of an object store failed; it may not the next time
├── Stopped               the run was told to stop before this stage finished
├── UndeclaredRead        a stage read what its key does not name
├── MachineError          this machine lacks room, memory or a limit that the work needs
├── LeaseError            this machine's devices cannot be leased
├── LaunchError           a subprocess (torchrun) failed; carries its last lines
└── ResultsError          a result table cannot be read or written
"""


class PgolfError(Exception):
    """Base class of all errors meant for users; `exit_code` is the command line's exit status.

    lines: the message, mostly one. What files and people say is repeated in it, so each is shortened in its middle to
    `most_characters`, and a character that a terminal would not show, or would obey, is written as Python writes it.
    may_pass: whether the same again may succeed without anybody's doing; of all others a retry only costs its time.
    """

    exit_code = 2
    may_pass = False
    most_characters = 500

    def __init__(self, *lines: object) -> None:
        shown = []
        for line in map(str, lines):
            # Only what may be shown is looked at: a line may have millions of characters.
            ends = (
                line
                if len(line) <= 2 * self.most_characters
                else line[: self.most_characters] + line[-self.most_characters :]
            )
            text = "".join(
                one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in ends
            )
            if len(line) > self.most_characters or len(text) > self.most_characters:
                middle = f" … ({len(line):,} characters in all) … "
                room = self.most_characters - len(middle)
                text = text[: room - room // 2] + middle + text[-(room // 2) :]
            shown.append(text)
        super().__init__(*shown)

    def __str__(self) -> str:
        return "\n".join(self.args)


class ConfigError(PgolfError, ValueError):
    """A field, recipe or override is invalid."""


class DataError(PgolfError, ValueError):
    """Input data is missing, damaged or does not fit."""


class DocumentError(DataError):
    """A document is not text; the message names file and line."""


class ShardError(DataError):
    """A token file is not a challenge shard."""


class TokenizerError(DataError):
    """A tokenizer cannot be read or trained, or does not fit the data."""


class FetchError(DataError):
    """A published data set cannot be downloaded as requested."""


class DownloadFailed(FetchError):
    """A file of a published data set did not arrive."""

    may_pass = True


class TrainingError(PgolfError):
    """Training cannot start or continue."""

    exit_code = 1


class NonFiniteLoss(TrainingError):
    """The training loss became NaN or infinite."""


class RanksDiffer(PgolfError):
    """The ranks of a training hold different weights; the message names the tensor and the ranks."""

    exit_code = 1
    may_pass = True


class QuantizationError(PgolfError):
    """Weights or Hessians cannot be quantized."""

    exit_code = 1


class BudgetExceeded(PgolfError):
    """Even the smallest artifact that the config allows is over the byte budget."""

    exit_code = 1


class ArtifactError(PgolfError):
    """A packed model file cannot be decoded."""


class StoreError(PgolfError):
    """The artifact store cannot be read or written."""


class StoreFull(StoreError):
    """No space left on the store's device; nothing half-written remains."""


class StoreUnreadable(StoreError):
    """Something in the store is there and cannot be read: it is neither used nor called damaged."""


class StoreUnreachable(StoreError):
    """The service of an object store does not answer, or answered with a failure of its own."""

    may_pass = True


class UndeclaredRead(PgolfError):
    """A stage read, ran or connected to what its key does not name."""


class MachineError(PgolfError):
    """This machine lacks room, memory or a limit that the work needs."""


class LeaseError(PgolfError):
    """This machine's devices cannot be leased."""


class LaunchError(PgolfError):
    """A subprocess failed; the message carries its last lines of output."""

    exit_code = 1
    may_pass = True
    most_characters = 20_000


class Stopped(PgolfError):
    """The run was told to stop before this stage started or finished."""

    exit_code = 143


class ResultsError(PgolfError):
    """A result table cannot be read or written."""
