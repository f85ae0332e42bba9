"""One rank of a training run, under torchrun or alone: initialize, prime, train, save."""

import time

import torch

from pgolf.corpus.dataset import open_dataset
from pgolf.identity.environment import fix_cublas_workspace
from pgolf.machine.hardware import refuse_uneven
from pgolf.model.checkpoint import save_checkpoint
from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT
from pgolf.model.init import initial_model
from pgolf.model.kernels import choose_kernels
from pgolf.ranks.group import Ranks
from pgolf.ranks.job import print_line, print_progress
from pgolf.train.batches import batches_of
from pgolf.train.config import TrainConfig
from pgolf.train.loop import StepReport, Trained, prime, train
from pgolf.train.network_loss import network_loss
from pgolf.train.state import Keeper, resumed_at
from pgolf.train.train_job import CHECKPOINT_FILE, LEDGER_FILE, Job, Ledger, Reached, StepLoss


def run(job: Job, ranks: Ranks, device: torch.device, keeper: Keeper | None = None) -> None:
    """Initialize, prime, train and, on rank 0, write checkpoint and ledger.

    keeper: saves resumable checkpoints and restores the last one. Raises ConfigError if the ranks cannot share a step.
    """
    torch.set_num_threads(job.threads)
    config = job.config.train
    refuse_uneven(ranks.world_size, config.spans_per_step)
    # A run that stops by the clock is not reproducible anyway, and deterministic backward passes are slower on CUDA.
    _choose_arithmetic(device, deterministic=config.clock_limit_s is None)
    phases = _Phases()
    dataset = open_dataset(job.data)
    spans = batches_of(dataset, config, job.config.model.vocab_size)
    model = _shared_initial_model(job.config.model, job.seed, ranks, device)
    phases.end("init")
    loss = network_loss(model, config, device)
    if config.priming_steps:
        prime(model, config, spans, ranks, loss=loss)
        phases.end("priming")
    start = None if keeper is None else keeper.start
    losses = [] if keeper is None else keeper.losses
    log = _StepLog(config, job.log_every_steps, losses, start) if ranks.rank == 0 else None
    trained = train(
        model,
        config,
        spans,
        ranks,
        clock_s=time.perf_counter,
        on_step=log.take if log else lambda _report: None,
        loss=loss,
        lag=1 if device.type == "cuda" else 0,
        keeper=keeper,
    )
    phases.end("train")
    if log is None:
        return
    stream_position = trained.steps * config.stream_tokens_per_step
    facts = {"stream_position": str(stream_position), "seed": str(job.seed), "steps": str(trained.steps)}
    save_checkpoint(job.out / CHECKPOINT_FILE, job.config.model, trained.state, facts)
    phases.end("save")
    _write_ledger(job, ranks, device, trained, phases, losses, start)


def _write_ledger(
    job: Job,
    ranks: Ranks,
    device: torch.device,
    trained: Trained,
    phases: "_Phases",
    losses: list[tuple[float, float]],
    start: Reached | None,
) -> None:
    config = job.config.train
    ledger = Ledger(
        seed=job.seed,
        steps=trained.steps,
        stream_position=trained.steps * config.stream_tokens_per_step,
        tokens=trained.steps * config.tokens_per_step,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        processes=ranks.world_size,
        threads=job.threads,
        torch_version=torch.__version__,
        phases_s=phases.seconds,
        train_clock_s=trained.elapsed_s,
        resumed_at=resumed_at(start),
        interrupted=start is not None and config.clock_limit_s is not None,
        losses=losses,
    )
    (job.out / LEDGER_FILE).write_bytes(ledger.model_dump_json(indent=1).encode())


def _choose_arithmetic(device: torch.device, *, deterministic: bool) -> None:
    """The switches of this process; before anything is computed on the device."""
    choose_determinism(device, deterministic)
    choose_kernels(device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True


def choose_determinism(device: torch.device, deterministic: bool) -> None:
    """Whether torch's operations give the same bits in every run, and those that cannot are errors."""
    if device.type == "cuda":
        if deterministic:
            fix_cublas_workspace()
        torch.use_deterministic_algorithms(deterministic)
    else:  # the same switch, without importing torch's compiler: it takes as long as torch itself, and is not used
        torch.set_deterministic_debug_mode("error" if deterministic else "default")


def _shared_initial_model(config: ModelConfig, seed: int, ranks: Ranks, device: torch.device) -> GPT:
    """The initial network on the device: drawn by rank 0, whose processor and threads decide the last bits for all."""
    model = (initial_model(config, seed) if ranks.rank == 0 else GPT(config)).to(device)
    for tensor in model.state_dict().values():
        ranks.share(tensor, owner=0)
    return model


class _Phases:
    """Measures wall seconds per phase, each lasting until its `end`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.since_s = time.perf_counter()

    def end(self, phase: str) -> None:
        now_s = time.perf_counter()
        self.seconds[phase] = round(now_s - self.since_s, 3)
        self.since_s = now_s


class _StepLog:
    """Keeps the loss of every step, and prints the first, every n-th and the last, for the log and the progress bar."""

    def __init__(self, config: TrainConfig, every_steps: int, losses: list[StepLoss], start: Reached | None) -> None:
        self.config = config
        self.every_steps = max(1, every_steps)
        self.losses = losses
        self.printed_steps, self.printed_s = (0, 0.0) if start is None else (start.steps, start.elapsed_s)
        if start is not None:
            print_line(f"resumed at step {start.steps} of {config.steps}, {start.elapsed_s:.1f} s")

    def take(self, report: StepReport) -> None:
        step, total = report.steps_done, self.config.steps
        self.losses.append((report.loss_nats, round(report.elapsed_s, 3)))
        if not (step == 1 or step % self.every_steps == 0 or report.is_last):
            return
        since_s = max(report.elapsed_s - self.printed_s, 1e-9)
        step_s = since_s / (step - self.printed_steps)
        tokens_per_s = self.config.tokens_per_step / step_s
        self.printed_steps, self.printed_s = step, report.elapsed_s
        print_line(
            f"step {step}/{total}  loss {report.loss_nats:.4f} nats  grad norm {report.gradient_norm:.3f}  "
            f"rates x{report.rate_scale:.3f}  {report.elapsed_s:.1f} s  {1e3 * step_s:.0f} ms/step  "
            f"{tokens_per_s:,.0f} tokens/s"
        )
        facts = {
            "step": step,
            "loss_nats": report.loss_nats,
            "tokens_per_s": round(tokens_per_s),
            "elapsed_s": round(report.elapsed_s, 1),
        }
        if torch.cuda.is_available():
            facts["gpu_memory_bytes"] = torch.cuda.max_memory_allocated()
        print_progress({"is_last": report.is_last, "facts": facts})
