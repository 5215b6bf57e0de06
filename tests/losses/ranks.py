"""What runs on every rank of the distributed tests: one process group, all cases, results in a file."""

import copy
import datetime
import hashlib
import os
import warnings
from collections import Counter
from unittest import mock

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import losses
from losses.distributed import all_gather_no_grad, all_gather_with_grad, should_gather

CLASSES = 3
QUEUE = {"queue_size": 24, "temperature": 0.3}
#: Collectives that a loss could call.
COLLECTIVES = ("all_gather", "all_gather_into_tensor", "all_reduce", "broadcast", "all_gather_object")


def blend(warmup):
    return losses.LossWarmupWrapper(
        warmup, losses.SmoothAPLoss(CLASSES, **QUEUE), blend_steps=4, temp_start=0.3, temp_end=0.3
    )


def pauc(**kwargs):
    return losses.PAUCAtBudgetLoss(CLASSES, beta=0.4, **{**QUEUE, **kwargs})


CASES = {
    **{
        f"smooth_ap/{r}": lambda r=r: losses.SmoothAPLoss(CLASSES, reduction=r, **QUEUE)
        for r in ("mean", "sum", "none")
    },
    **{
        f"recall/{r}": lambda r=r: losses.RecallAtQuantileLoss(CLASSES, 0.2, reduction=r, **QUEUE)
        for r in ("mean", "sum", "none")
    },
    **{f"pauc/{r}": lambda r=r: pauc(reduction=r) for r in ("mean", "sum", "none")},
    **{
        f"pauc pairwise/{r}": lambda r=r: pauc(reduction=r, surrogate="pairwise")
        for r in ("mean", "sum", "none")
    },
    "pauc live": lambda: pauc(pos_numerator="live"),
    "smooth_ap without a queue": lambda: losses.SmoothAPLoss(CLASSES, queue_size=0, temperature=0.3),
    "smooth_ap capped": lambda: losses.SmoothAPLoss(CLASSES, max_pool_size=20, **QUEUE),
    "smooth_ap iqr": lambda: losses.SmoothAPLoss(CLASSES, tau_scale="iqr", **QUEUE),
    "smooth_ap small queue": lambda: losses.SmoothAPLoss(CLASSES, queue_size=7, temperature=0.3),
    **{
        f"softmax_focal/{r}": lambda r=r: losses.SoftmaxFocalLoss(reduction=r)
        for r in ("mean", "sum", "mean_positive")
    },
    **{f"sigmoid_focal/{r}": lambda r=r: losses.SigmoidFocalLoss(reduction=r) for r in ("mean", "sum")},
    "blend with bce": lambda: blend(nn.BCEWithLogitsLoss()),
    "blend with cross_entropy": lambda: blend(nn.CrossEntropyLoss()),
    "blend with softmax_focal": lambda: blend(losses.SoftmaxFocalLoss()),
    "blend with sigmoid_focal": lambda: blend(losses.SigmoidFocalLoss()),
}


#: Cases that are also run on a model whose parameters are sharded.
SHARDED = ("smooth_ap/mean", "recall/mean", "pauc pairwise/mean", "softmax_focal/mean", "sigmoid_focal/sum")


def run(rank, world, rendezvous, out):
    """Entry point of a rank."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    warnings.simplefilter("ignore")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    leaf = torch.zeros(1, requires_grad=True)
    before = should_gather(None, leaf), raises(should_gather, True, leaf)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    shards = {"even": [8] * world, "uneven, one empty": [13, 0, 3, 7][:world]}
    result = {
        "exactness": {
            (name, kind): exactness(make, sizes, rank)
            for name, make in CASES.items()
            for kind, sizes in shards.items()
        },
        "sharded": {name: sharded(CASES[name], world, rank) for name in SHARDED},
        "collectives": {name: collectives(make, rank) for name, make in CASES.items()},
        "before_init": before,
        "own_rows": own_rows(rank),
        "none_is_local": losses.SigmoidFocalLoss(reduction="none")(
            torch.zeros(rank + 2, requires_grad=True), torch.zeros(rank + 2)
        ).shape[0],
        "alone": {name: alone(make, rank) for name, make in CASES.items()},
        "shared queue": shared_queue(rank),
        "validated": {name: validated(make, rank) for name, make in CASES.items()},
        "absent": absent(rank),
        "gather": gathering(rank, world),
        "subgroup": subgroup(rank, world),
        "queue": queue_digest(rank),
    }
    torch.save(result, f"{out}.{rank}")
    dist.barrier()
    dist.destroy_process_group()


def raises(call, *args):
    try:
        call(*args)
    except RuntimeError as error:
        return str(error)
    return None


def data(sizes, step, sigmoid):
    generator = torch.Generator().manual_seed(step)
    rows = sum(sizes)
    x = torch.randn(rows, 5, generator=generator)
    targets = torch.randint(0, CLASSES, (rows,), generator=generator)
    targets[1] = -100
    if sigmoid:
        targets = nn.functional.one_hot(targets.clamp_min(0), CLASSES).double()
    return x, targets, torch.rand(rows, generator=generator) + 0.1


def exactness(make, sizes, rank):
    """(gradient ratio, largest difference of gradients, of losses, of queues; their bits) over 3 steps."""
    torch.manual_seed(0)
    local, whole = nn.Linear(5, CLASSES), nn.Linear(5, CLASSES)
    whole.load_state_dict(local.state_dict())
    ddp = nn.parallel.DistributedDataParallel(local)
    ours, single = make(), make()
    for module in single.modules():
        if hasattr(module, "gather_distributed"):
            module.gather_distributed = False
    sigmoid = isinstance(ours, losses.SigmoidFocalLoss)
    own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
    ratios, gaps, values = [], [], []
    for step in range(3):
        x, targets, weight = data(sizes, step, sigmoid)
        for loss_fn in (ours, single):
            if isinstance(loss_fn, losses.LossWarmupWrapper):
                loss_fn.on_train_batch_start(step)
        ddp.zero_grad()
        whole.zero_grad()
        here = ours(ddp(x[own]), targets[own], sample_weight=weight[own]).nansum()
        there = single(whole(x), targets, sample_weight=weight).nansum()
        here.backward()
        there.backward()
        got, expected = (torch.cat([p.grad.flatten() for p in m.parameters()]) for m in (local, whole))
        ratios.append(float(got @ expected / (expected @ expected)))
        gaps.append(float((got - expected).abs().max()))
        values.append(float((here - there).detach().abs()))
    pairs = list(zip(held(ours), held(single), strict=True))
    # A matrix product of one row may round otherwise than the same row of a larger one.
    same = all(torch.allclose(a, b, rtol=0.0, atol=1e-12) for a, b in pairs)
    bits = hashlib.sha256(b"".join(a.numpy().tobytes() for a, _ in pairs)).hexdigest()
    return ratios, max(gaps), max(values), same, bits


def held(loss_fn):
    """What a loss remembers from step to step."""
    loss_fn = getattr(loss_fn, "main_loss", loss_fn)
    return list(loss_fn.queue.state().values()) if hasattr(loss_fn, "queue") else []


def sharded(make, world, rank):
    """Largest difference of gradients under FSDP, which reduces and scatters them, from one process."""
    torch.manual_seed(0)
    model = nn.Linear(5, CLASSES)
    whole = copy.deepcopy(model)
    fully_shard(model, mesh=init_device_mesh("cpu", (world,)))
    ours, single = make(), make()
    single.gather_distributed = False
    x, targets, _ = data([8] * world, 0, isinstance(ours, losses.SigmoidFocalLoss))
    own = slice(8 * rank, 8 * (rank + 1))
    ours(model(x[own]), targets[own]).backward()
    single(whole(x), targets).backward()
    pairs = zip(model.parameters(), whole.parameters(), strict=True)
    return max(float((ours.grad.full_tensor() - one.grad).abs().max()) for ours, one in pairs)


def collectives(make, rank):
    """Collectives of one forward and backward, after the first forward has met the batch size."""
    loss_fn = make()
    _, targets, _ = data([8], 0, isinstance(loss_fn, losses.SigmoidFocalLoss))
    logits = torch.randn(8, CLASSES, requires_grad=True)
    if isinstance(loss_fn, losses.LossWarmupWrapper):
        loss_fn.on_train_batch_start(0)
    loss_fn(logits, targets)
    counts = Counter()

    def counting(name, original):
        def call(*args, **kwargs):
            counts[name] += 1
            return original(*args, **kwargs)

        return call

    with mock.patch.multiple(dist, **{name: counting(name, getattr(dist, name)) for name in COLLECTIVES}):
        loss_fn(logits, targets).nansum().backward()
    return dict(counts)


def gathering(rank, world):
    """The public functions: values, and the adjoint for losses that differ between ranks."""
    x = torch.full((rank + 1, 2), float(rank), requires_grad=True)
    gathered = all_gather_with_grad(x)
    detached = all_gather_no_grad(x)
    # Rank r weighs row k by (r + 1)(k + 1): the gradient of the sum of all ranks' losses.
    rows = torch.arange(1.0, len(gathered) + 1)[:, None]
    ((rank + 1) * rows * gathered).sum().backward()
    return {
        "rows": gathered.detach(),
        "equal": torch.equal(gathered.detach(), detached) and not detached.requires_grad,
        "grad": x.grad,
    }


def subgroup(rank, world):
    """A loss over a named process group ranks that group's rows only."""
    if world < 4:
        return None
    groups = [dist.new_group([0, 1]), dist.new_group([2, 3])]
    loss_fn = losses.SmoothAPLoss(1, queue_size=8, process_group=groups[rank // 2])
    loss_fn = copy.deepcopy(loss_fn)
    loss_fn(torch.full((3, 1), float(rank), requires_grad=True), torch.tensor([0, 1, 0]))
    return loss_fn.queue.scores.unique().tolist()


def without_gradient(loss_fn, x, targets):
    """The three ways in which no gradient is wanted: grad mode off, inference, logits that require none."""
    with torch.no_grad():
        yield loss_fn(x.requires_grad_(), targets).nansum()
    with torch.inference_mode():
        yield loss_fn(x, targets).nansum()
    yield loss_fn(x.detach(), targets).nansum()


def alone(make, rank):
    """Largest difference of a validation on rank 0 alone from the loss of that rank's rows."""
    if rank > 0:
        return None
    loss_fn, local = make().eval(), make().eval()
    for module in local.modules():
        if hasattr(module, "gather_distributed"):
            module.gather_distributed = False
    x, targets, _ = data([12], 0, isinstance(loss_fn, losses.SigmoidFocalLoss))
    x = x[:, :CLASSES]
    expected = local(x, targets).nansum()
    return max(float((value - expected).abs()) for value in without_gradient(loss_fn, x, targets))


def validated(make, rank):
    """How far a value under ``gather_distributed=True``, without gradient, is from that of all rows."""
    world = dist.get_world_size()
    loss_fn, single = make().eval(), make().eval()
    for each, gathers in ((loss_fn, True), (single, False)):
        for module in each.modules():
            if hasattr(module, "gather_distributed"):
                module.gather_distributed = gathers
    x, targets, _ = data([6] * world, 0, isinstance(loss_fn, losses.SigmoidFocalLoss))
    own, x = slice(6 * rank, 6 * (rank + 1)), x[:, :CLASSES]
    expected = single(x, targets).nansum()
    with torch.no_grad():
        return float((loss_fn(x[own], targets[own]).nansum() - expected).abs())


def shared_queue(rank):
    """How full queues are after a forward in training on rank 0 alone, whose logits require no gradient."""
    loss_fn = losses.SmoothAPLoss(CLASSES, **QUEUE)
    x, targets, _ = data([8], rank, False)
    x = x[:, :CLASSES].requires_grad_()
    loss_fn(x, targets)
    if rank == 0:
        loss_fn(x.detach(), targets)
    _, stats = loss_fn(x, targets, return_diagnostics=True)
    return loss_fn.queue.fill(), int(stats["ranks_apart"])


def absent(rank):
    """What rank 0 is told where it waits for ranks that never call."""
    waits = {
        "SmoothAPLoss": lambda g, x: losses.SmoothAPLoss(1, process_group=g)(x, torch.tensor([0, 1])),
        "SoftmaxFocalLoss": lambda g, x: losses.SoftmaxFocalLoss(process_group=g)(
            x.expand(2, 3), torch.tensor([0, 1])
        ),
        "BCEWithLogitsLoss": lambda g, x: losses.LossWarmupWrapper(
            nn.BCEWithLogitsLoss(), losses.SmoothAPLoss(1, process_group=g), warmup_steps=1
        )(x, torch.tensor([0, 1])),
        "all_gather_no_grad": lambda g, x: all_gather_no_grad(x, g),
        "all_gather_with_grad": lambda g, x: all_gather_with_grad(x, g),
        "the backward of all_gather_with_grad": lambda g, x: all_gather_with_grad(x, g).sum().backward(),
    }
    told = {}
    for name, wait in waits.items():
        group = dist.new_group(timeout=datetime.timedelta(seconds=1))
        x = torch.zeros(2, 1, requires_grad=True)
        if rank == 0:
            told[name] = raises(wait, group, x)
        elif name.startswith("the backward"):
            all_gather_with_grad(x, group)
        dist.barrier()
    return told


def queue_digest(rank):
    """What the queue and a capped draw hold after uneven steps; the same on every rank."""
    loss_fn = losses.SmoothAPLoss(CLASSES, queue_size=20, max_pool_size=15)
    values = []
    for step in range(4):
        generator = torch.Generator().manual_seed(100 * step + rank)
        rows = (step + rank * 3) % 9
        logits = torch.randn(rows, CLASSES, generator=generator, requires_grad=True)
        values.append(loss_fn(logits, torch.randint(0, CLASSES, (rows,), generator=generator)).detach())
    return torch.cat([loss_fn.queue.scores.flatten(), torch.stack(values)])


class _Holder(nn.Module):
    """A model that holds its loss."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(4, 1)
        self.loss = losses.SmoothAPLoss(1, queue_size=64, gather_distributed=False)

    def forward(self, x, y):
        return self.loss(self.net(x), y)


def own_rows(rank):
    """Labels that a queue holds which belongs to one rank, under DDP; fed even and odd rows by rank."""
    model = _Holder()
    wrapped = nn.parallel.DistributedDataParallel(model)  # broadcasts the buffers of rank 0 at each forward
    for _ in range(3):
        wrapped(torch.randn(8, 4), torch.full((8,), rank % 2)).backward()
    return torch.bincount(model.loss.queue.labels.flatten() + 1, minlength=3).tolist()
