"""Score rows as a run would hand them in."""

from typing import Any

from pgolf.tables.gates import RULESET


def score_row(**columns: Any) -> dict[str, Any]:
    """A neural score of recipe demo, seed 1, that passes every gate; change what the test is about."""
    row = {
        "recipe": "demo",
        "recipe_key": "a" * 64,
        "seed": 1,
        "estimator": "neural",
        "loss_nats": 2.0,
        "bpb": 1.2,
        "bits": 2885.39,
        "targets": 1000,
        "bytes": 2400,
        "vocab": 512,
        "mass_mean": 1.0,
        "normalized": True,
        "causal": True,
        "audited": True,
        "fits_budget": True,
        "bytes_verified": True,
        "total_bytes": 90_000,
        "ruleset": RULESET,
        "data_name": "builtin-512",
        "val_sha256": "1" * 64,
        "tokenizer_sha256": "2" * 64,
        "text_sha256": "3" * 64,
        "declared": True,
        "declared_utc": "2025-12-01T09:00:00+00:00",
        "declared_before_scoring": True,
        "started_utc": "2025-12-01T10:00:00+00:00",
    }
    return {**row, **columns}
