"""Each tensor of a checkpoint in the form in which a packed model stores it, at the bits asked for."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from pgolf.errors import QuantizationError
from pgolf.pack.config import CompressConfig
from pgolf.pack.weights import Stored, to_float16
from pgolf.quant.gptq import GptqOptions, SingularHessianError, quantize_gptq
from pgolf.quant.grid import Quantized, round_embedding, round_to_nearest, search_percentile
from pgolf.quant.scheme import layer_of, treatment


class Quantizer:
    """Quantizes a network once per tensor and width: downgrading one more layer costs that layer only.

    singular: matrices whose Hessian had no Cholesky factor and that were rounded by percentile search instead,
    which happens only where the config says so.
    """

    def __init__(
        self, config: CompressConfig, state: Mapping[str, Tensor], hessians: Mapping[str, Tensor], workers: int
    ) -> None:
        self.config = config
        self.singular: set[str] = set()
        self.dtypes = {name: tensor.dtype for name, tensor in state.items()}
        self._state = state
        self._hessians = hessians
        self.workers = workers
        self._treatments = {
            name: treatment(
                name,
                tuple(tensor.shape),
                floating=tensor.is_floating_point(),
                fp16_max_elements=config.fp16_max_elements,
            )
            for name, tensor in state.items()
        }
        self._matrices = [name for name, kind in self._treatments.items() if kind == "matrix"]
        self._rest: dict[str, Stored] = {}
        self._rounded: dict[tuple[str, int], Quantized] = {}

    @property
    def layers(self) -> frozenset[int]:
        """Blocks with at least one matrix that has bits to lose."""
        return frozenset(layer for name in self._matrices if (layer := layer_of(name)) is not None)

    def matrix_bits(self, downgraded: frozenset[int]) -> dict[str, int]:
        """Bits of every matrix when the given layers are downgraded."""
        low_bits = self.config.downgrade_bits
        return {
            name: low_bits if low_bits is not None and layer_of(name) in downgraded else self.config.matrix_bits
            for name in self._matrices
        }

    def stored(self, downgraded: frozenset[int]) -> dict[str, Stored]:
        """The whole network in state order, with the given layers downgraded.

        Raises QuantizationError naming a tensor that cannot be quantized.
        """
        if not self._rest:
            self._rest = {name: self._store(name) for name, kind in self._treatments.items() if kind != "matrix"}
        bits = self.matrix_bits(downgraded)
        missing = [(name, wanted) for name, wanted in bits.items() if (name, wanted) not in self._rounded]
        # One thread per torch operation here too, so that results do not depend on the number of workers.
        with ThreadPoolExecutor(self.workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for key, rounded in zip(missing, pool.map(lambda key: self._round(*key), missing)):
                self._rounded[key] = rounded
        return {
            name: self._rest[name] if name in self._rest else self._rounded[name, bits[name]] for name in self._state
        }

    def _store(self, name: str) -> Stored:
        tensor = self._state[name]
        if self._treatments[name] == "exact":
            return tensor
        if self._treatments[name] == "fp16":
            return to_float16(name, tensor)
        return round_embedding(name, tensor, self.config.embedding_bits)

    def _round(self, name: str, bits: int) -> Quantized:
        config, W_RC = self.config, self._state[name]
        if config.method == "rtn":
            return round_to_nearest(name, W_RC, bits)
        if config.method == "percentile":
            return search_percentile(name, W_RC, bits, config.percentiles)
        if name not in self._hessians:
            raise QuantizationError(
                f"{name}: method gptq needs a Hessian for it, calibration made {len(self._hessians)} others; "
                "calibrate the same checkpoint, or use method percentile"
            )
        options = GptqOptions(
            stream_damping=config.stream_damping,
            damping=config.damping,
            percentiles=config.percentiles,
            act_order=config.act_order,
        )
        try:
            return quantize_gptq(name, W_RC, self._hessians[name], bits, options)
        except SingularHessianError as error:
            if config.singular_hessian == "percentile":
                self.singular.add(name)
                return search_percentile(name, W_RC, bits, config.percentiles)
            raise QuantizationError(
                f"{error}; raise CompressConfig.damping (now {config.damping}), calibrate on more tokens, "
                "or set singular_hessian to percentile"
            ) from error
