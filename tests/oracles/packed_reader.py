"""A reader of packed models written from docs/format.md alone, in plain loops over Python's integers."""

import hashlib
import json
import lzma
import struct

BORDERS = [base * 2**i for i in range(11) for base in (16, 20, 25)]


def read_packed(file_bytes):
    """Meta, and by name (dtype, shape, bytes in C order) of every array, of a file with codec xz or rans."""
    magic, version, codec, body_bytes, _decoded = struct.unpack("<8sHHQQ", file_bytes[:28])
    body = file_bytes[60:]
    assert (magic, version, body_bytes) == (b"\x89PGOLF\r\n", 3, len(body))
    assert hashlib.sha256(file_bytes[:28] + body).digest() == file_bytes[28:60]
    plain, coded = body, b""
    if codec == 3:
        packed, plain_bytes = struct.unpack("<II", body[:8])
        lzma2 = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**20}]
        plain, coded = lzma.decompress(body[8 : 8 + packed], lzma.FORMAT_RAW, filters=lzma2), body[8 + packed :]
        assert len(plain) == plain_bytes
    else:
        assert codec == 1
        (count,) = struct.unpack("<I", body[:4])
        plain, at = b"", 4 + 8 * count
        for part in range(count):
            packed, decoded = struct.unpack("<II", body[4 + 8 * part : 12 + 8 * part])
            plain_part = lzma.decompress(body[at : at + packed])
            assert len(plain_part) == decoded
            plain, at = plain + plain_part, at + packed
        assert at == len(body)
    (header_bytes,) = struct.unpack("<I", plain[:4])
    header, at = json.loads(plain[4 : 4 + header_bytes]), 4 + header_bytes
    width = {"bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8}
    width |= {"float16": 2, "float32": 4, "float64": 8}
    found, matrices = {}, []
    for name, dtype, shape, *bits in header["arrays"]:
        elements = 1
        for extent in shape:
            elements *= extent
        found[name] = (dtype, shape, bytearray(elements * width[dtype]))
        if bits:
            matrices.append((name, *shape, *bits))
    for place in range(8):
        for name, dtype, _shape, *bits in header["arrays"]:
            if not bits and place < width[dtype]:
                for first in range(place, len(found[name][2]), width[dtype]):
                    found[name][2][first] = plain[at]
                    at += 1
    assert at == len(plain)
    decoded = read_codes(coded, [matrix[1:] for matrix in matrices]) if codec == 3 else []
    for (name, *_), codes in zip(matrices, decoded):
        found[name][2][:] = bytes(code & 255 for code in codes)
    return header["meta"], {name: (dtype, shape, bytes(raw)) for name, (dtype, shape, raw) in found.items()}


def read_codes(coded, matrices):
    """The codes, in C order, of matrices given as (rows, columns, bits)."""
    states_count = 1
    while states_count * 2 <= min(256, sum(R * C for R, C, _ in matrices) // 32768):
        states_count *= 2
    states = list(struct.unpack(f"<{states_count}q", coded[: 8 * states_count]))
    words = iter(struct.unpack(f"<{len(coded) // 4 - 2 * states_count}I", coded[8 * states_count :]))
    sets = {}
    decoded = []
    for R, C, bits in matrices:
        S = 2**bits
        if bits not in sets:
            sets[bits] = {"all": [bell(S, k % 34) for k in range(102)], "last": [[0] * S for _ in range(102)]}
            sets[bits] |= {"aside": [], "n": 0, "heavy": set()}
            sets[bits]["edges"] = [edges(*counts) for counts in zip(sets[bits]["all"], sets[bits]["last"])]
        shared = sets[bits]
        size_R, size_C, lean_R, lean_C = [0] * R, [0] * C, [0] * R, [0] * C
        T, L, N = 256 * S // 8, 0, 1
        codes = [0] * (R * C)
        for d in range(R + C - 1):
            cells = [(r, d - r) for r in range(R) if 0 <= d - r < C]
            contexts, shifts = [], []
            for r, c in cells:
                mean = max(1, T // N)
                row, column = (size_R[r] + 16 * mean) // (c + 16), (size_C[c] + 16 * mean) // (r + 16)
                size = row * column // mean
                G = L // N
                lean = (lean_R[r] + 16 * G) // (c + 16) + (lean_C[c] + 16 * G) // (r + 16) - G
                shifts.append((lean + 128) // 256 if 2 * abs(lean) > size else 0)
                sign = 1 if shifts[-1] else 2 if 10 * lean > size else 0 if 10 * lean < -size else 1
                contexts.append(34 * sign + sum(border <= size for border in BORDERS))
            for begin in range(0, len(cells), states_count):
                dealt = list(enumerate(range(begin, min(begin + states_count, len(cells)))))
                for state, i in dealt:
                    edge, v = shared["edges"][contexts[i]], states[state]
                    s = max(s for s in range(S) if edge[s] <= v & 65535)
                    states[state] = (edge[s + 1] - edge[s]) * (v >> 16) + (v & 65535) - edge[s]
                    shared["aside"].append((contexts[i], s))
                    codes[cells[i][0] * C + cells[i][1]] = (s + shifts[i]) % S - S // 2
                for state, _ in dealt:
                    if states[state] < 2**31:
                        states[state] = states[state] << 32 | next(words)
            for (r, c), shift in zip(cells, shifts):
                x = codes[r * C + c]
                size_R[r] += 256 * abs(x - shift)
                size_C[c] += 256 * abs(x - shift)
                lean_R[r] += 256 * x
                lean_C[c] += 256 * x
                T += 256 * abs(x - shift)
                L += 256 * x
                N += 1
            if len(shared["aside"]) >= min(1024, max(16, shared["n"] // 128)):
                for context, s in shared["aside"]:
                    shared["all"][context][s] += 32
                    shared["last"][context][s] += 32
                shared["n"] += len(shared["aside"])
                # Elsewhere nothing was added, so nothing changes, unless halving once was not enough the last time.
                for k in {context for context, _ in shared["aside"]} | shared["heavy"]:
                    shared["heavy"].discard(k)
                    if sum(shared["last"][k]) > 16384:
                        shared["last"][k] = [count >> 1 for count in shared["last"][k]]
                        shared["heavy"].add(k)
                    shared["edges"][k] = edges(shared["all"][k], shared["last"][k])
                shared["aside"] = []
        decoded.append(codes)
    assert next(words, None) is None
    assert states == [2**31] * states_count
    return decoded


def bell(S, klass):
    """The counts that a class begins with."""
    around = [0, *BORDERS, BORDERS[-1] * 5 // 4]
    mean = (around[klass] + around[klass + 1]) // 2
    width = 7 * (5 * mean * mean // 4 + 5461)
    heights = [width**4 * 2**64 // (width + x * x * 65536) ** 4 for x in range(-S // 2, S // 2)]
    return [1 + 1920 * height // sum(heights) for height in heights]


def edges(all_, last):
    """Where the numbers of each symbol begin, and where the last one's end."""
    A = sum(all_)
    counts = [new + old * min(A, 16384) // A for old, new in zip(all_, last)]
    found, upto, total = [0], 0, sum(counts)
    for s, count in enumerate(counts):
        upto += count
        found.append(upto * (65536 - len(counts)) // total + s + 1)
    return found
