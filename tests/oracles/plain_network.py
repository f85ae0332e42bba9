"""The networks of PRs #715, #745, #761, #792 and #1493 from their description, in float64, position by position.

`state` maps state names to float64 arrays. Nothing here is shared with pgolf but the names of the configuration.
"""

import math

import numpy as np

MATRICES = [f"attn.{name}.weight" for name in ("c_q", "c_k", "c_v", "proj")] + ["mlp.fc.weight", "mlp.proj.weight"]


def small_names(config):
    """What each executed layer has of its own."""
    names = ["attn_scale", "mlp_scale", "resid_mix", "attn.q_gain"]
    names += ["attn.vr_lambda"] if config.value_residual else []
    return names + (["attn.attn_gate.weight", "attn.attn_gate.bias"] if config.gated_attention else [])


def rms(x, eps):
    return x / math.sqrt(np.mean(x * x) + eps)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rotated(x, position, length, config):
    """Pairs (i, i + R/2) of the first R channels turned by -position · base^(-2i/R)."""
    R, base = config.rope_dims, config.rope_base
    if length > config.rope_reference_length:
        base *= (length / config.rope_reference_length) ** (R / (R - 2))
    y = x.copy()
    for i in range(R // 2):
        frequency = base ** (-2 * i / R)
        if config.rope_frequency_dtype == "bfloat16":  # 8 significant bits
            _, exponent = math.frexp(frequency)
            frequency = round(frequency * 2.0 ** (8 - exponent)) * 2.0 ** (exponent - 8)
        angle = position * frequency
        a, b = x[i], x[i + R // 2]
        y[i] = a * math.cos(angle) + b * math.sin(angle)
        y[i + R // 2] = b * math.cos(angle) - a * math.sin(angle)
    return y


def attention_by_definition(config, layer, p, u_TD, first_v, value_embedding_TV):
    """Output [T, D] and own values [T][G] of one attention. p: the layer's arrays by name within `attn`."""
    T, H, G, K = len(u_TD), config.heads, config.kv_heads, config.width // config.heads
    eps = config.norm_eps_bf16_input
    own_v = [[None] * G for _ in range(T)]
    v = [[None] * G for _ in range(T)]
    k = [[None] * G for _ in range(T)]
    for t in range(T):
        v_flat = p["c_v.weight"] @ u_TD[t]
        if value_embedding_TV is not None:
            v_flat = v_flat + value_embedding_TV[t]
        k_flat = p["c_k.weight"] @ u_TD[t]
        for g in range(G):
            own_v[t][g] = v_flat[g * K : (g + 1) * K]
            v[t][g] = own_v[t][g]
            if config.value_residual and first_v is not None:
                v[t][g] = p["vr_lambda"][0] * first_v[t][g] + p["vr_lambda"][1] * own_v[t][g]
            k[t][g] = rotated(rms(k_flat[g * K : (g + 1) * K], eps), t, T, config)
    out_TD = np.zeros((T, config.width))
    for t in range(T):
        q_flat = p["c_q.weight"] @ u_TD[t]
        heads = []
        for h in range(H):
            g = h // (H // G)
            q = rotated(rms(q_flat[h * K : (h + 1) * K], eps), t, T, config) * p["q_gain"][h]
            weights = [math.exp(q @ k[s][g] / math.sqrt(K)) for s in range(t + 1)]
            y = sum(w * v[s][g] for s, w in enumerate(weights)) / sum(weights)
            if config.xsa_layers is None or layer in config.xsa_layers:
                unit = v[t][g] / max(math.sqrt(v[t][g] @ v[t][g]), 1e-12)
                y = y - (y @ unit) * unit
            if config.gated_attention:
                y = y * sigmoid(u_TD[t] @ p["attn_gate.weight"][h] + p["attn_gate.bias"][h])
            heads.append(y)
        out_TD[t] = p["proj.weight"] @ np.concatenate(heads)
    return out_TD, own_v


def matrix_layers(layers, recurrence, passes):
    """Whose matrices each executed layer uses: 0..c-1, the recurring layers again, c..; c follows the last of them."""
    if not recurrence:
        return list(range(layers))
    c = max(recurrence) + 1
    return [*range(c), *(sorted(recurrence) * (passes - 1)), *range(c, layers)]


def logits_by_definition(config, state, tokens, *, loops=True):
    """Softcapped logits [T, V] for one row of tokens. loops: whether the recurring layers recur."""
    physical = matrix_layers(config.layers, config.recurrence if loops else (), config.recurrence_passes)
    T, L, E = len(tokens), len(physical), len(physical) // 2
    stream_eps = config.norm_eps_bf16_input if config.residual_dtype == "bfloat16" else config.norm_eps
    embedded = []
    for t, token in enumerate(tokens):
        e = state["tok_emb.weight"][token]
        if config.bigram_buckets:
            last = config.bigram_buckets - 1
            bucket = last if t == 0 else ((36313 * token) ^ (27191 * tokens[t - 1])) % last
            e = e + state["bigram.proj.weight"] @ state["bigram.embed.weight"][bucket] * state["bigram.scale"]
        embedded.append(rms(e, config.norm_eps_bf16_input))
    x = np.array(embedded)
    if config.smear == "channels":
        g = sigmoid(state["smear.gate"])
        x = np.array([(1 - g) * embedded[t] + (g * embedded[t - 1] if t else 0) for t in range(T)])
    x0, first_v, kept = x.copy(), None, []
    for place in range(L):
        layer = physical[place] if config.recurrence_shares == "blocks" else place
        p = {name: state[f"blocks.{layer}.{name}"] for name in small_names(config)}
        p |= {name: state[f"blocks.{physical[place]}.{name}"] for name in MATRICES}
        if 0 <= place - E < E:
            skip = state["skip_weights"][place - E] * kept.pop()
            if config.skip_gates:
                g = sigmoid(state["skip_gates"][place - E])
                x = g * x + (1 - g) * skip
            else:
                x = x + skip
        value_embedding = None
        if layer in config.value_embedding_layers:
            j = config.value_embedding_layers.index(layer)
            value_embedding = [
                state["ve_shared.proj.weight"]
                @ state["ve_shared.embed.weight"][token]
                * state["ve_shared.scale"]
                * state[f"ve_layer_scales.{j}"]
                for token in tokens
            ]
        scale = 1 / math.sqrt(layer + 1) if config.ln_scale else 1.0
        z = p["resid_mix"][0] * x + p["resid_mix"][1] * x0
        u = np.array([scale * rms(z[t], stream_eps) for t in range(T)])
        attn = {name.removeprefix("attn."): array for name, array in p.items() if name.startswith("attn.")}
        a, own_v = attention_by_definition(config, layer, attn, u, first_v, value_embedding)
        if place == 0:
            first_v = own_v
        is_parallel = config.parallel_from is not None and layer >= config.parallel_from
        z = z + p["attn_scale"] * a
        for t in range(T):
            hidden = p["mlp.fc.weight"] @ (u[t] if is_parallel else scale * rms(z[t], stream_eps))
            squared = np.where(hidden > 0, hidden, config.mlp_slope * hidden) ** 2
            z[t] = z[t] + p["mlp_scale"] * (p["mlp.proj.weight"] @ squared)
        x = z
        if place < E:
            kept.append(x.copy())
    raw = np.array([state["tok_emb.weight"] @ rms(x[t], stream_eps) for t in range(T)])
    return config.logit_softcap * np.tanh(raw / config.logit_softcap)
