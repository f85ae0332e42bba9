"""Stage `import`: convert weights trained by a published script into a pgolf checkpoint."""

import time
from collections.abc import Mapping
from pathlib import Path

from pgolf.model.checkpoint import save_checkpoint
from pgolf.model.import_config import ImportConfig
from pgolf.model.other_network import refuse_other_network
from pgolf.model.parameter_count import parameter_count
from pgolf.model.published import from_published, metadata_of, read_published
from pgolf.model.wrapper_names import without_wrappers
from pgolf.run_options import Made, RunOptions

CHECKPOINT_FILE = "checkpoint.safetensors"


def make(config: ImportConfig, inputs: Mapping[str, Path], out: Path, _run: RunOptions) -> Made:
    """Read the state file inputs["weights"], check it against `config.model`, and write checkpoint.safetensors.

    Nothing in the file is executed. Names that a wrapper of torch has put before the network's own are accepted. Raises
    DataError if the file cannot be read, is our own and of another network, or naming each tensor that is missing,
    unknown, of the wrong shape, or not finite.
    """
    began_s = time.perf_counter()
    published, prefixes = without_wrappers(read_published(inputs["weights"]))
    refuse_other_network(config.model, metadata_of(inputs["weights"]), inputs["weights"])
    read_s = time.perf_counter()
    state = from_published(config.model, published)
    facts = {"stream_position": str(config.stream_position), "steps": str(config.steps), "seed": "imported"}
    save_checkpoint(out / CHECKPOINT_FILE, config.model, state, facts)
    return Made(
        phases_s={"read": read_s - began_s, "convert": time.perf_counter() - read_s},
        facts={"parameters": parameter_count(config.model), "tensors": len(published), "steps": config.steps}
        | ({"prefixes": " ".join(prefixes)} if prefixes else {}),
    )
