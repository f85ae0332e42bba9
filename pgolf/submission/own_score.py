"""The scores of a packed model by the code of this process, in the settings that a script was told. Loads torch.

Of the script nothing runs: what it prints is held against this.
"""

import contextlib
import io
import tempfile
from pathlib import Path

from pgolf.bundle import standalone
from pgolf.bundle.script_settings import Settings
from pgolf.corpus.data_files import DataFiles
from pgolf.corpus.view import link, write_view
from pgolf.errors import ConfigError
from pgolf.pack.load import load_packed
from pgolf.submission.printed_scores import PrintedScore, printed_scores


def own_scores(settings: Settings, model: Path, data: DataFiles, *, threads: int = 0) -> tuple[PrintedScore, ...]:
    """The scores, as the script's own program would print them. threads: on a CPU, 0 for all cores.

    Raises ConfigError for a model of other settings, or where it cannot be evaluated here; ArtifactError for a file
    that is no packed model, or decodes to far more than a network's weights.
    """
    packed = load_packed(model).config
    if packed != settings.model:
        differ = [
            f"{name} {getattr(packed, name)!r}, not {getattr(settings.model, name)!r}"
            for name in type(packed).model_fields
            if getattr(packed, name) != getattr(settings.model, name)
        ]
        raise ConfigError(f"{model.name} is of another recipe than the script ({', '.join(differ[:3])})")
    out, errors = io.StringIO(), io.StringIO()
    with tempfile.TemporaryDirectory(prefix="pgolf-") as folder:
        write_view(Path(folder), data, link)
        words = ["eval", "--data", folder, "--artifact", str(model.absolute()), "--threads", str(threads)]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            exit_code = standalone.main(words, settings, __file__, {})
    if exit_code != 0:
        raise ConfigError(f"{model.name} cannot be evaluated here: {errors.getvalue().strip()}")
    return printed_scores(out.getvalue())
