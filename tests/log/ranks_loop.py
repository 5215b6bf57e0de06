"""What runs on each rank of the monitor's distributed tests."""

import os
import warnings

import torch
import torch.distributed as dist
from torch import nn

from imbalance_doctor import Doctor
from losses import SmoothAPLoss
from tests.live.loop import batches

FAULTS = ("none", "no gather", "settings differ", "queue reset on one rank", "nan on one rank")


def run(rank, world, rendezvous, folder):
    """Train under DDP with each fault in turn; the runs lie in folders of the faults' names."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    for fault in FAULTS:
        told = train(rank, f"{folder}/{fault}", fault)
        torch.save(told, f"{folder}/{fault}/told{rank}")
        dist.barrier()
    dist.destroy_process_group()


def train(rank, run_dir, fault):
    torch.manual_seed(0)
    gather = False if fault == "no gather" else None
    temperature = 0.05 if fault == "settings differ" and rank else 0.1
    ranking = SmoothAPLoss(1, queue_size=512, temperature=temperature, gather_distributed=gather)
    plain = nn.BCEWithLogitsLoss()
    model = nn.parallel.DistributedDataParallel(nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    told = []
    with Doctor(run_dir, on_finding=lambda finding: told.append(finding.code)) as doctor:
        doctor.watch(ranking, "ranking")
        doctor.watch(plain, "plain")
        for step, (x, y) in zip(range(60), batches(64, 0.1, seed=rank), strict=False):
            if fault == "queue reset on one rank" and rank == 1 and step == 30:
                ranking.reset_queue()
            logits = model(x)
            loss = ranking(logits, y) + plain(logits, y[:, None].float())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if fault == "nan on one rank" and rank == 1:  # an auxiliary head that this rank alone has
                plain(torch.full_like(logits, torch.nan), y[:, None].float())
            doctor.step()
    return told
