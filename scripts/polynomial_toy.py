"""Minimise a polynomial of 512 one-hot numbers by the gradients of an estimator (Hooper, Shekhovtsov 2026, section 5).

    python -m scripts.polynomial_toy                        # every estimator of the paper, a few minutes
    python -m scripts.polynomial_toy zgr mve --seeds 0 1 2  # some of them

128 latents of four classes, each class a number of [0, 1]: the loss is the mean of |z − 0.45|^p. Logits start near 0;
Adam, rate 1e-3, takes 10,000 steps on 8 samples each. The table holds the mean loss of the last 200 steps, and what the
paper's stored results give. Writes polynomial_toy.json and polynomial_toy.md into the output folder.
"""

from pathlib import Path

from discrete_latents.config.command_parser import CommandParser, whole_number

POWERS = (1.5, 2.0, 3.0)
NUMBERS = (1.0, 0.5069, 0.0, 0.7385)
"""What the four classes stand for: the paper's random ones, rounded."""

TARGET, LATENTS, BATCH, LAST = 0.45, 128, 8, 200
PUBLISHED = {
    "straight_through": (0.2272, 0.1480, 0.0688),
    "st_gumbel": (0.0203, 0.0075, 0.0025),
    "gumbel_rao": (0.0156, 0.0045, 0.0008),
    "reinmax": (0.0152, 0.0043, 0.0007),
    "mve": (0.0152, 0.0044, 0.0008),
}
"""By option of `latent`, for each power; one seed."""

SETTINGS = {"st_gumbel": {"temperature": 0.1}, "gumbel_rao": {"temperature": 0.1, "draws": 20}}
"""The paper's settings where they are not ours."""


def final_loss(name: str, power: float, seed: int, steps: int) -> float:
    """The mean loss of the last steps."""
    import torch
    from torch import Tensor

    from discrete_latents.latent import Sampler
    from scripts.common.estimator import make_estimator

    torch.manual_seed(seed)
    estimator = make_estimator(name, **SETTINGS.get(name, {}))
    logits = torch.empty(LATENTS, len(NUMBERS)).uniform_(-0.01, 0.01).requires_grad_()
    numbers = torch.tensor(NUMBERS)

    def objective(sample: Sampler) -> Tensor:
        z = sample(logits.expand(BATCH, -1, -1)) @ numbers
        return -(z - TARGET).abs().pow(power).mean(-1)

    trained = [logits, *estimator.parameters()]
    optimizer, losses = torch.optim.Adam(trained, lr=1e-3, fused=True), []
    for step in range(steps):
        loss = -estimator(objective).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step >= steps - LAST:
            losses.append(loss.detach())
    return torch.stack(losses).mean().item()


def table(measured: dict[str, dict[str, list[float]]], steps: int) -> str:
    head = [f"p = {power:g} | paper" for power in POWERS]
    rows = [f"| `latent=` | {' | '.join(head)} |", "|---" * (1 + 2 * len(POWERS)) + "|"]
    count = 0
    for name, losses in measured.items():
        cells = []
        for index, values in enumerate(losses.values()):
            count, mean = len(values), sum(values) / len(values)
            published = f"{PUBLISHED[name][index]:.4f}" if name in PUBLISHED else ""
            cells.append(f"{mean:.4f} | {published}")
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    seeds = "one seed" if count == 1 else f"the mean of {count} seeds"
    return "\n".join([*rows, "", f"{steps:,} steps; {seeds}, as one of the paper's.", ""])


def main() -> None:
    parser = CommandParser(__doc__)
    parser.add_argument("estimators", nargs="*", default=list(PUBLISHED), metavar="NAME", help="options of latent")
    parser.add_argument(
        "--seeds", nargs="+", type=whole_number(0), default=[0, 1, 2], metavar="SEED", help="of the runs"
    )
    parser.add_argument("--steps", type=whole_number(LAST), default=10_000, help="of the optimiser")
    parser.add_argument("--output", type=Path, default=Path("results"), help="folder of the files")
    arguments = parser.parse_args()

    from scripts.common.report import write_report

    measured: dict[str, dict[str, list[float]]] = {}
    for name in arguments.estimators:
        measured[name] = {
            f"{power:g}": [final_loss(name, power, seed, arguments.steps) for seed in arguments.seeds]
            for power in POWERS
        }
        print(name, measured[name], flush=True)
    data = {"steps": arguments.steps, "losses": measured}
    write_report(arguments.output, "polynomial_toy", data, table(measured, arguments.steps))


if __name__ == "__main__":
    main()
