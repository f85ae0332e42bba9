"""A scorer that `pgolf audit --exec "python audited_scorer.py"` can try: it counts which token followed which."""

import copy
import json
import math
import sys

vocab_size, state, marks = 0, {"counts": {}, "last": 0}, {}


def probabilities():
    """Of every token as the next one: what followed the last token so far, and one more of each."""
    counts = state["counts"].get(state["last"], {})
    total = sum(counts.values()) + vocab_size
    return [(counts.get(token, 0) + 1) / total for token in range(vocab_size)]


for line in sys.stdin:
    asked = json.loads(line)
    if "start" in asked:
        vocab_size, state["last"] = asked["start"]["vocab_size"], asked["start"]["first"]
        answer = {"ready": True, "offers": ["distribution", "mark"]}
    elif "tokens" in asked:
        answer = {"loss_nats": []}
        for token in asked["tokens"]:
            answer["loss_nats"].append(-math.log(probabilities()[token]))
            counts = state["counts"].setdefault(state["last"], {})  # learned after it was scored
            counts[token], state["last"] = counts.get(token, 0) + 1, token
    elif "distribution" in asked:
        answer = {"logp": [math.log(p) for p in probabilities()]}
    elif "mark" in asked:
        marks[asked["mark"]] = copy.deepcopy(state)
        continue  # no answer
    elif "back" in asked:
        state = copy.deepcopy(marks[asked["back"]])
        continue
    print(json.dumps(answer), flush=True)
